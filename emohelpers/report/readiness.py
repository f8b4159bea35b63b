"""What would stop a run later is told before it begins, all at once: card, room, data, weights, earlier results."""

import shutil
from collections.abc import Callable
from typing import Any

import psutil

from emohelpers.config import paths
from emohelpers.config.errors import SuiteError
from emohelpers.config.music import Music
from emohelpers.config.shared import Data
from emohelpers.datasets import layouts, manifest, ratings
from emohelpers.models import devices, weights

# least free on a rented machine, with room for checkpoints and for decoded pictures
DISK_GB = 2.0
MEMORY_GB = 3.0


class NotReady(SuiteError, RuntimeError):
    """Several things that would stop the run later, each with its remedy."""


def check(cfg: Any) -> None:
    """Looks at all that a run needs, in seconds; raises the error of what is missing, or `NotReady` with all."""
    problems: list[SuiteError] = []

    def look(task: Callable, *values: Any, **options: Any) -> None:
        try:
            task(*values, **options)
        except SuiteError as error:
            problems.append(error)

    look(devices.precision, getattr(cfg, "precision", "auto"))
    if paths.host():
        look(_machine)
    look(_data, cfg)
    if getattr(cfg, "weights", "") == "hub":
        look(weights.reach, cfg.backbone)
    for stem, file, named in getattr(cfg, "results_needed", list)():
        look(paths.find_result, stem, file, run=paths.run_name(cfg.preset), named=named)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise NotReady("\n- ".join([f"{len(problems)} things would stop this run:", *map(str, problems)]))


def _machine() -> None:
    folder = next(place for place in (paths.outputs_root(), *paths.outputs_root().parents) if place.is_dir())
    disk = shutil.disk_usage(folder).free / 1e9
    memory = psutil.virtual_memory().available / 1e9
    print(f"free: {disk:.1f} GB in {folder}, {memory:.1f} GB of memory")
    if disk < DISK_GB:
        raise NotReady(f"{disk:.1f} GB are free in {folder}, {DISK_GB:g} are needed: delete what is not used there")
    if memory < MEMORY_GB:
        raise NotReady(f"{memory:.1f} GB of memory are free, {MEMORY_GB:g} are needed: restart the session")


def _data(cfg: Any) -> None:
    if isinstance(cfg, Data | Music):
        description = manifest.read(layouts.Manifest if isinstance(cfg, Data) else ratings.Ratings, cfg.manifest)
        if cfg.dataset_root or not description.drawn:  # what code draws is drawn when it is read
            description.folder(cfg.dataset_root)
    elif cfg.dataset_root:
        paths.find_input(cfg.dataset_root)
