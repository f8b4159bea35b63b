"""Weights and gradients described by name: what moves, what explodes, what is dead."""

import re
from pathlib import Path

import torch
from pandas import DataFrame
from torch import Tensor
from torch.nn import Module

from emohelpers.config import ConfigError, files
from emohelpers.models.freeze import head_parameters

FIGURES = ("mean", "std", "min", "max", "l2")


@torch.no_grad()
def statistics(model: Module, only: str = "all") -> DataFrame:
    """One row a parameter: name, n, trained, mean, std, min, max, L2 norm, and the same of its gradient if it has one.

    Args:
        only: "all", "head", or a regular expression that is searched in the names.

    Raises:
        ValueError: no parameter has such a name.
    """
    parameters = dict(model.named_parameters())
    names = _matching(list(parameters), only, head_parameters(model))
    rows = []
    for name in names:
        parameter = parameters[name]
        row = {"name": name, "n": parameter.numel(), "trained": parameter.requires_grad}
        row.update(_describe(parameter))
        if parameter.grad is not None:
            row.update(_describe(parameter.grad, "gradient_"))
        rows.append(row)
    return DataFrame(rows)


def _matching(names: list[str], only: str, head: set[str]) -> list[str]:
    if only in ("all", ""):
        return names
    if only == "head":
        return [name for name in names if name in head]
    matching = [name for name in names if re.search(only, name)]
    if not matching:
        raise ConfigError(f"statistics={only!r} matches no parameter; there are {names[0]} ... {names[-1]}")
    return matching


def write(path: str | Path, model: Module, only: str = "all") -> Path:
    """The statistics as a text table, e.g. final_weights.txt: for the eye, and for a diff with a later run's."""
    table = statistics(model, only)
    columns = ["name", "n", "trained", *FIGURES]
    return files.write_text(path, table[columns].to_string(index=False, float_format="{:.6g}".format) + "\n")


def _describe(tensor: Tensor, prefix: str = "") -> dict[str, float]:
    x = tensor.detach().float()
    values = torch.stack([x.mean(), x.std(correction=0), x.min(), x.max(), x.norm()])
    return {prefix + figure: value for figure, value in zip(FIGURES, values.tolist(), strict=True)}
