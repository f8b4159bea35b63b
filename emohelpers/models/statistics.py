"""Weights and gradients described by name: what moves, what explodes, what is dead."""

import re
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from emohelpers.config import files
from emohelpers.models import factory

FIGURES = ("mean", "std", "min", "max", "l2")


@torch.no_grad()
def statistics(model: nn.Module, only: str = "all") -> pd.DataFrame:
    """One row a parameter: name, n, trained, mean, std, min, max, L2 norm, and the same of its gradient if it has one.

    Args:
        only: "all", "head", or a regular expression that is searched in the names.

    Raises:
        ValueError: no parameter has such a name.
    """
    head = factory.head_parameters(model)
    rows = []
    for name, parameter in model.named_parameters():
        if only not in ("all", "") and not (name in head if only == "head" else re.search(only, name)):
            continue
        row = {"name": name, "n": parameter.numel(), "trained": parameter.requires_grad, **_describe(parameter)}
        if parameter.grad is not None:
            row |= {f"gradient_{figure}": value for figure, value in _describe(parameter.grad).items()}
        rows.append(row)
    if not rows:
        names = [name for name, _ in model.named_parameters()]
        raise ValueError(f"statistics={only!r} matches no parameter; there are {names[0]} ... {names[-1]}")
    return pd.DataFrame(rows)


def write(path: str | Path, model: nn.Module, only: str = "all") -> Path:
    """The statistics as a text table, e.g. final_weights.txt: for the eye, and for a diff with a later run's."""
    table = statistics(model, only)
    columns = ["name", "n", "trained", *FIGURES]
    return files.write_text(path, table[columns].to_string(index=False, float_format="{:.6g}".format) + "\n")


def _describe(tensor: torch.Tensor) -> dict[str, float]:
    x = tensor.detach().float()
    figures = (x.mean(), x.std(correction=0), x.min(), x.max(), x.norm())
    return dict(zip(FIGURES, torch.stack(figures).tolist(), strict=True))
