"""Everything that is wrong with a data set said at once, and what may be left out of it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from emohelpers.datasets.locate import ManifestError

ACCIDENT = 0.25  # share of a data set: where more is unusable, the folder or the table is the wrong one


def numbered(problems: Sequence[str]) -> str:
    """One problem a line, counted from 1."""
    return "\n".join(f"  {number}. {text}" for number, text in enumerate(problems, 1))


def stop(title: str, root: Path, problems: Sequence[str]) -> None:
    """Raises `ManifestError` with all problems at once, each said once; does nothing where all of them are ""."""
    problems = list(dict.fromkeys(filter(None, problems)))
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ManifestError(f"{count} in {title} ({root}):\n{numbered(problems)}")


def leave_out(reasons: Mapping[str, str], total: int, allowed: float, kind: str, root: Path) -> tuple[str, str]:
    """Judges how much of a data set is unusable: (problem, note), of which one or both are "".

    Args:
        reasons: path or id of what is unusable -> why.
        total: all there are, the unusable ones included.
        allowed: the share of them (0..1) that may be left out.
        kind: what they are called, "pictures".
    """
    if not reasons:
        return "", ""
    share = len(reasons) / total
    count = f"{len(reasons):,} of {total:,} {kind} ({share:.2%}) are missing or cannot be used"
    if share <= allowed:
        return "", f"{count} and were left out (max_unreadable = {allowed:.2%})"
    first = "\n".join(f"       {name}: {reason}" for name, reason in list(reasons.items())[:5])
    remedy = "Download or unpack them again, or take their rows out of the table"
    if share <= ACCIDENT:
        enough = max(0.02, math.ceil(share * 100) / 100)
        remedy += f', or leave them out knowingly: OVERRIDES = {{"max_unreadable": {enough}}}'
    problem = f"{count}; max_unreadable allows {allowed:.2%}. The first, below {root}:\n{first}\n     {remedy}"
    return problem, ""
