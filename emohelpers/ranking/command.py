"""The appeal of photographs from the command line: pairs made and audited, a model trained, exported, and used."""

import json
import sys
from typing import Any

from emohelpers import config
from emohelpers.config.ranking import Ranking
from emohelpers.ranking import headless
from emohelpers.ranking.model import read_settings


def audit(root: str, splits: str, preset: str, settings: list[str], out: str) -> int:
    """The exit code: 1 if anything is wrong with the pairs."""
    photographs = headless.audit(_config(root, splits, preset, settings), out)
    return int(photographs.problems > 0)


def split(root: str, splits: str, preset: str, settings: list[str]) -> None:
    headless.split(_config(root, splits, preset, settings))


def spoil(photographs: str, out: str) -> None:
    print(headless.spoil(photographs, out))


def pair(table: str, out: str, min_gap: float) -> None:
    print(headless.pair(table, out, min_gap))


def train(root: str, splits: str, preset: str, settings: list[str], earlier: str, out: str) -> None:
    values = read_settings(earlier) if earlier else {}
    preset = values.pop("preset", preset)
    headless.learn(_config(root, splits, preset, settings, **values), out)


def evaluate(checkpoint: str, root: str, part: str) -> None:
    headless.evaluate(checkpoint, root, part)


def export(checkpoint: str, root: str) -> None:
    print(headless.export(checkpoint, root))


def quantise(checkpoint: str, root: str, tries: int) -> None:
    print(json.dumps(headless.quantise(checkpoint, root, tries), indent=1))


def score(folder: str, model: str, out: str) -> None:
    _, listing = headless.rate(folder, model, out)
    if note := listing.note():
        print(note, file=sys.stderr)


def _config(root: str, splits: str, preset: str, settings: list[str], **earlier: Any) -> Ranking:
    """Settings of an earlier training, then the folders that were named, then each setting by name."""
    inputs = {"dataset_root": root, "splits_json": splits}
    named = {name: text for name, text in inputs.items() if text}
    return config.make(Ranking, preset, **(earlier | named | config.assignments(settings)))
