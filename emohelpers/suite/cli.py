"""The command line: what is typed goes to the function of a command, and every error comes back as a sentence."""

import importlib
import sys
import traceback

from emohelpers.suite import arguments, console


def main(words: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 something failed, 2 asked for what cannot be done, 130 interrupted."""
    with console.Lasting("stdout"), console.Lasting("stderr"):
        options = vars(arguments.parser().parse_args(words))
        del options["command"]
        debug = options.pop("debug")
        try:
            return _call(**options)
        except KeyboardInterrupt:
            return 130
        except Exception as error:  # the one place where every error ends
            if debug:
                traceback.print_exc()
            print(f"error: {console.sentence(error)}", file=sys.stderr)
            return 2 if isinstance(error, console.EXPECTED) else 1


def _call(function: str, **options) -> int:
    """Calls the function of a dotted name, whose module is imported only now."""
    module, _, name = function.rpartition(".")
    return getattr(importlib.import_module(module), name)(**options) or 0
