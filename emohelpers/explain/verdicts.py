"""What speaks against a method's maps of a model; of an interval the worse end counts."""

from collections.abc import Mapping

BELIEVE = "believe"
NEAR_ZERO = 0.1  # mean rank correlation up to which maps of random weights count as unrelated
ALIKE = 0.9  # rank correlation from which the maps of two classes count as one
STABLE = 0.7  # rank correlation that two seeds must reach
CONTROLS = ("random", "centre")

Figures = Mapping[str, Mapping[str, float]]  # name of a check -> {"value", "low", "high", "n"}


def faults(figures: Figures) -> list[str]:
    """Every check that does not hold, in words."""
    problems = []
    weak = [check for check in ("deletion", "insertion") if not _beats_controls(figures, check)]
    if weak:
        problems.append(f"{' and '.join(weak)} no better than a control")
    if not abs(figures["random_weights"]["value"]) <= NEAR_ZERO:  # NaN is a fault too
        problems.append("random weights give related maps")
    if figures["other_class"]["value"] >= ALIKE:
        problems.append("the same map for every class")
    if "stability" in figures and not figures["stability"]["value"] >= STABLE:
        problems.append("another seed gives another map")
    if "pointing" in figures and figures["pointing_centre"]["low"] <= 0:
        problems.append("points no better than at the centre")
    return problems


def _beats_controls(figures: Figures, check: str) -> bool:
    gains = [figures[f"{check}_{control}"] for control in CONTROLS]
    return all(gain["low"] > 0 for gain in gains)


def verdict(figures: Figures) -> str:
    """The word "believe" where every check holds, else "not: " and every fault."""
    problems = faults(figures)
    return f"not: {'; '.join(problems)}" if problems else BELIEVE
