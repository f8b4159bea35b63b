"""The one set-up cell of all notebooks: python scripts/setup_cell.py writes it into each, --check only compares.

A release puts what pip shall fetch into pyproject.toml (`[tool.emohelpers] address`: a wheel's address, or
git+https://...@tag) and runs this; while it is empty no notebook asks the internet for the package.
"""

import sys
import tomllib
from pathlib import Path

from emohelpers.config import files
from emohelpers.suite import notebooks

HOME = Path(__file__).parents[1]
ADDRESS = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["emohelpers"]["address"]
SEARCH = """\
import sys
from glob import glob
from importlib.util import find_spec

tops = [".", "..", "*", *("/kaggle/input/" + at for at in ("*", "*/*", "*s/*/*", "*s/*/*/*"))]
sys.path += [p.removesuffix("/emohelpers") for top in tops for p in glob(f"{top}/emohelpers*")]
"""
PIP = 'find_spec("emohelpers") or get_ipython().run_line_magic("pip", "install --quiet --no-deps ADDRESS")\n'
SENTENCE = "emohelpers is missing: attach its wheel or repository"


def cell(address: str = ADDRESS) -> str:
    """Its source; where an address is given pip takes the package from there if nothing at hand holds it."""
    pip, sentence = (PIP.replace("ADDRESS", address), f"{SENTENCE}, or turn internet on") if address else ("", SENTENCE)
    return f'{SEARCH}{pip}find_spec("emohelpers") or sys.exit("{sentence}");'


def main() -> int:
    """Writes the cell; with --check returns 1 where a notebook has another one."""
    others = []
    for path in sorted((HOME / "notebooks").glob("*.ipynb")):
        book = notebooks.load(path)
        (place,) = [place for place in book.cells if "setup" in notebooks.tags(place)]
        if place.source != cell():
            others.append(path)
            place.source = cell()
            if "--check" not in sys.argv:
                files.write_text(path, notebooks.canonical(book))
    print(*(path.name for path in others), sep="\n")
    return int(bool(others) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
