"""The command line: what is typed goes to the function of a command, and every error comes back as a sentence."""

import importlib
import sys
import traceback

from emohelpers.config import files, paths
from emohelpers.config.errors import SuiteError
from emohelpers.suite import arguments
from emohelpers.suite.console import Console


def main(words: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 something failed, 2 asked for what cannot be done, 130 interrupted."""
    with Console("stdout"), Console("stderr"):
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
            # An OSError names a place of the user's, which cannot be read or written.
            expected = isinstance(error, SuiteError | OSError)
            print(f"error: {error if expected else _fault(error)}", file=sys.stderr)
            return 2 if expected else 1


def _call(function: str, **options) -> int:
    """Calls the function of a dotted name, whose module is imported only now."""
    module, _, name = function.rpartition(".")
    return getattr(importlib.import_module(module), name)(**options) or 0


def _fault(error: Exception) -> str:
    """A sentence about an error that nobody foresaw; its traceback goes to `fault.log` among the outputs."""
    name = "".join(traceback.format_exception_only(error)).strip()
    path = paths.outputs_root() / "fault.log"
    try:
        files.write_text(path, "".join(traceback.format_exception(error)))
    except OSError:
        return f"{name}\nThis is a fault of the suite. Please report it with what --debug prints."
    return f"{name}\nThis is a fault of the suite. Please report it with {path}, which says where it arose."
