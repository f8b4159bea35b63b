"""Renews kaggle/, the ready notebooks that anybody can download, and commits and tags them on this machine.

    make release                      # nothing is pushed; needs no network
    make release ARGS=--no-tag        # the commit alone; the same command without it adds the tag

The version stands in emohelpers/__init__.py, and CHANGELOG.md must have a heading for it.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import emohelpers  # noqa: E402
from emohelpers.config import files  # noqa: E402
from emohelpers.suite import notebooks  # noqa: E402
from emohelpers.suite.bundle import build  # noqa: E402

FOLDER = "kaggle"
HEADING = re.compile(r"^## \[?(\d[^\]\s]*)", re.M)  # a version in CHANGELOG.md
GITHUB = re.compile(r"github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$")
PAGE = """\
# The notebooks, ready to be uploaded

Version {version}. Each file carries what it needs of the package, so that nothing stands beside it: download one, \
import it on Kaggle (*Create → New Notebook → File → Import Notebook*) or upload it to Colab, and press *Run All*. \
What can go wrong there, and what to do: [docs/kaggle.md](../docs/kaggle.md). `make release` alone writes this folder; \
between releases it may lag behind [the sources](../notebooks). 02, 03 and 06 need the outputs that they read; \
04 and 05 compare with theirs where it is attached.

{table}
"""
BADGES = (
    "[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]"
    "(https://kaggle.com/kernels/welcome?src=https://github.com/{path}) "
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{path})"
)


class Refused(Exception):
    """Why there is no release, in a sentence with the remedy."""


def git(*arguments: str, check: bool = True) -> str:
    """What git says, without the line end.

    Raises:
        Refused: git failed, with its words; not where `check` is false.
    """
    process = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    if check and process.returncode:
        raise Refused(f"git {arguments[0]} failed: {process.stderr.strip() or process.stdout.strip()}")
    return process.stdout.rstrip("\n")


def ready(version: str, tag: str) -> None:
    """Raises Refused where a release of this version cannot begin."""
    if changes := git("status", "--porcelain"):
        names = ", ".join(line[3:] for line in changes.splitlines()[:5])
        raise Refused(f"the tree has changes that are not committed ({names}): commit or stash them first.")
    if tag and git("tag", "--list", tag):
        raise Refused(f"the tag {tag} exists: raise __version__ in emohelpers/__init__.py.")
    if version not in HEADING.findall((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")):
        raise Refused(f"CHANGELOG.md has no heading `## {version}`: say there what the version brings.")
    git("var", "GIT_COMMITTER_IDENT")  # git refuses a commit of nobody


def write(folder: Path, version: str, repository: str) -> None:
    """All bundles and the page about them; with badges where the repository's owner/name is known."""
    lines = ["| notebook | kB | reads the output of |" + (" open |" if repository else "")]
    lines.append("|---|---|---|" + ("---|" if repository else ""))
    for stem, book in notebooks.find(ROOT / "notebooks").items():
        file = f"{stem}/{stem}.ipynb"
        build.write(book, folder)
        size = (folder / file).stat().st_size / 1000
        needs = ", ".join(need.split("_")[0] for need in book.needs) or "none"
        badges = BADGES.format(path=f"{repository}/blob/v{version}/{FOLDER}/{file}")
        lines.append(f"| [{stem}]({file}) | {size:.0f} | {needs} |" + (f" {badges} |" if repository else ""))
    files.write_text(folder / "README.md", PAGE.format(version=version, table="\n".join(lines)))


def commit(source: Path, version: str, tag: str) -> None:
    """`source` becomes kaggle/, committed and tagged; all is as before where git refuses."""
    head = git("rev-parse", "HEAD")
    target = ROOT / FOLDER
    try:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        git("add", "--all", FOLDER)
        if git("status", "--porcelain"):  # nothing where it was made before, without the tag
            git("commit", "--quiet", "-m", f"Release {version}: the ready notebooks are those of this version")
        if tag:
            git("tag", "-a", tag, "-m", f"Release {version}")
    except BaseException:
        git("reset", "--quiet", "--hard", head, check=False)  # the tree was clean
        raise


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-tag", action="store_true", help="leave the tag to another time")
    parser.add_argument("--out", type=Path, help="write the folder there, and neither commit nor tag")
    arguments = parser.parse_args()
    version = emohelpers.__version__
    tag = "" if arguments.no_tag or arguments.out else f"v{version}"
    address = GITHUB.search(git("remote", "get-url", "origin", check=False))
    repository = address[1] if address else ""
    try:
        ready(version, tag)
        with tempfile.TemporaryDirectory() as scratch:
            folder = arguments.out or Path(scratch) / FOLDER
            write(folder, version, repository)
            if not arguments.out:
                commit(folder, version, tag)
    except (Refused, notebooks.NotebookError) as error:
        print(f"no release: {error}", file=sys.stderr)
        return 1
    print(
        f"{arguments.out or FOLDER}/ is of version {version}" + (f", tagged {tag}; git push --follow-tags" * bool(tag))
    )
    if not repository:
        print("without badges: no remote on GitHub is known here")
    return 0


if __name__ == "__main__":
    sys.exit(main())
