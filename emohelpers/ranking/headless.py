"""The ranking without its notebook: pairs made and audited, a model trained, evaluated, exported, and used."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch.nn import Module

from emohelpers import config, models, train
from emohelpers.config import files, paths
from emohelpers.config.ranking import Ranking
from emohelpers.datasets import pairing, pairs_audit
from emohelpers.ranking import figures, release
from emohelpers.ranking.judge import judge
from emohelpers.ranking.model import build, read_settings, stopping
from emohelpers.ranking.photographs import Photographs, prepare
from emohelpers.ranking.score import score
from emohelpers.report import facts, style

STEM = "08_emo_aen_ranking"


def audit(root: str, splits: str, preset: str, settings: list[str], out: str) -> int:
    """Prints everything that is wrong with a folder of pairs, and returns 1 if anything is.

    `out` is a CSV of all findings, or its folder.
    """
    target = paths.table_file(out, "audit.csv") if out else None
    photographs = prepare(_config(root, splits, preset, settings))
    if target:
        files.write_csv(photographs.audit, target)
    _show(photographs)
    return int(photographs.problems > 0)


def split(root: str, splits: str, preset: str, settings: list[str]) -> None:
    """Writes splits.json: scenes and near-duplicates stay together.

    Raises:
        ConfigError: there is one already.
    """
    cfg = _config(root, splits, preset, settings)
    photographs = prepare(cfg)
    target = Path(cfg.splits_json or photographs.data.root / "splits.json")
    if target.is_file():
        raise config.ConfigError(f"{target} exists; a split is never drawn twice. Remove it first if it must go.")
    parts = pairing.draw_splits(photographs.data, photographs.pixels, cfg.twin_similarity, seed=cfg.seed)
    files.write_json(target, parts)
    print(target, {part: len(folders) for part, folders in parts.items()})


def spoil(photographs: str, out: str) -> None:
    """Makes pairs of good photographs and what six defects make of them; `out` is a new folder."""
    if paths.run_folder("", output_dir=out) and any(Path(out).iterdir()):  # said before the work
        raise FileExistsError(f"{out} holds something already: name another folder")
    pictures = Path(out).with_name(Path(out).name + "_pictures")
    scores, listing = pairing.spoiled(photographs, pictures)
    if note := listing.note():
        print(note, file=sys.stderr)
    print(pairing.from_scores(pictures, scores, out, min_gap=0.3))


def pair(table: str, out: str, min_gap: float) -> None:
    """Makes pairs of the scored pictures of each scene: a CSV of path (beside it), scene, score."""
    print(pairing.from_scores(Path(table).parent, pairing.read_scored(table), out, min_gap=min_gap))


def learn(root: str, splits: str, preset: str, settings: list[str], earlier: str, out: str) -> None:
    """Trains on pairs and evaluates on the test part; `earlier` is the train.yaml of another training."""
    values = read_settings(earlier) if earlier else {}
    preset = values.pop("preset", preset)
    cfg = _config(root, splits, preset, settings, **values)
    folder = paths.claimed(paths.run_folder(STEM, run="headless", output_dir=out or cfg.output_dir))
    photographs = prepare(cfg)
    _show(photographs)
    photographs.check()
    cfg, rule = stopping(cfg, photographs.counts["val"])
    print(rule)
    model, batches = build(cfg, photographs, folder)
    fit = train.fit(model, batches["train"], batches["val"], train.Preference.of(cfg), cfg, folder)
    _report(fit.model, folder, photographs, cfg, "test", fit.seconds)


def evaluate(checkpoint: str, root: str, part: str) -> None:
    """Pairwise accuracy, tau, accuracy by gap and latency of a checkpoint; results go beside it."""
    model, cfg, photographs = _opened(checkpoint, root)
    _report(model, _home(checkpoint), photographs, cfg, part, 0.0)


def export(checkpoint: str, root: str) -> None:
    """emo_aen.onnx beside a checkpoint, with a dynamic batch, compared with the model."""
    model, cfg, photographs = _opened(checkpoint, root)
    print(release.write(model, _home(checkpoint), photographs, cfg, trained=_date(checkpoint)))


def quantise(checkpoint: str, root: str, tries: int) -> None:
    """emo_aen_int8.onnx beside a checkpoint, if it is worth it; `tries` recipes, 0: those of its config."""
    model, cfg, photographs = _opened(checkpoint, root)
    folder = _home(checkpoint)
    # Written anew: a file that lies there may be older.
    print(release.write(model, folder, photographs, cfg, trained=_date(checkpoint)))
    cfg = config.with_settings(cfg, int8_tries=tries or cfg.int8_tries)
    print(json.dumps(release.int8(folder, photographs, cfg), indent=1))


def rate(folder: str, model: str, out: str) -> None:
    """Scores every picture of a folder: a CSV, a contact sheet and what was left out beside it."""
    name = f"{Path(folder).resolve().name}.csv"
    target = paths.table_file(out or paths.outputs_root() / "appeal", "scores.csv" if out else name)
    table, squares, listing = score(folder, model)
    files.write_csv(table.sort_values("score", ascending=False), target)
    left_out = "".join(f"left out: {name}: {reason}\n" for name, reason in listing.left_out.items())
    files.write_text(target.with_suffix(".txt"), f"photographs of {folder} by {model}\n{left_out}")
    picture = target.with_suffix(".png")
    style.save(figures.contact_sheet(squares, table), picture)
    print(f"{len(table)} pictures scored: {target} and {picture}")
    if note := listing.note():
        print(note, file=sys.stderr)


def _config(root: str, splits: str, preset: str, settings: list[str], **earlier: Any) -> Ranking:
    """Settings of an earlier training, then the folders that were named, then each setting by name."""
    inputs = {"dataset_root": root, "splits_json": splits}
    named = {name: text for name, text in inputs.items() if text}
    return config.make(Ranking, preset, **(earlier | named | config.assignments(settings)))


def _show(photographs: Photographs) -> None:
    print(photographs)
    print(pairs_audit.summary(photographs.audit))


def _home(checkpoint: str) -> Path:
    return Path(checkpoint).resolve().parent


def _date(checkpoint: str) -> str:
    """Day of the training: the checkpoint was written at its end."""
    return datetime.fromtimestamp(Path(checkpoint).stat().st_mtime, UTC).date().isoformat()


def _opened(checkpoint: str, root: str) -> tuple[Module, Any, Photographs]:
    """A checkpoint, the config of its training, and its pairs (or those of `root`), decoded alike."""
    model = models.load(checkpoint)
    values = dict(model.facts["config"])
    cfg = config.make(Ranking, values.pop("preset"), **values)
    if root:
        cfg = config.with_settings(cfg, dataset_root=root, splits_json="")
    photographs = prepare(cfg)
    photographs.check()
    return model, cfg, photographs


def _report(model: Module, folder: Path, photographs: Photographs, cfg: Any, part: str, seconds: float) -> None:
    judged = judge(model, photographs, cfg, part)
    latency = release.latency(model, folder, rounds=cfg.timing_rounds)
    files.write_csv(judged.pairs, folder / f"pairs_{part}.csv")
    facts.save_metrics(
        folder,
        judged.figures,
        name=f"metrics_{part}.json",
        data=photographs.data.name,
        demo=bool(photographs.data.demo),
        seconds=seconds,
        split=photographs.fingerprint,
        latency_ms=latency,
        by_gap=judged.gaps.to_dict("records"),
    )
    print(facts.figures_table(judged.figures).to_string())
    print(judged.gaps.round(3).to_string(index=False))
    print("milliseconds a picture, one thread:", {name: round(value, 2) for name, value in latency.items()})
