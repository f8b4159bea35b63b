"""The model card: what a model is, what it was measured to do and what not, written from its run's own files.

The text is the template card.md; its head is what the hub reads.
"""

import math
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData, SpaceCard, SpaceCardData
from jinja2 import Environment, FileSystemLoader
from torch.nn import Module

TITLES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "ece": "Calibration error (ECE)",
    "nll": "Negative log-likelihood",
    "brier": "Brier score",
    "pairwise_accuracy": "Pairwise accuracy",
    "tau": "Kendall's tau-b inside scenes",
    "rho": "Spearman's rho inside scenes",
}
RESULTS = ("accuracy", "macro_f1", "pairwise_accuracy")  # figures that the hub's own table shows
LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-nc-4.0", "cc-by-4.0", "cc-by-nc-sa-4.0", "openrail")
SPACE = "---\n{{ card_data }}\n---\n\n{{ title }}. To run it here: `python app.py`.\n"


def text(
    model: Module,
    measured: Mapping[str, Any],
    settings: Mapping[str, Any],
    folder: Path,
    *,
    repo: str,
    data: Mapping[str, Any],
) -> str:
    """The README.md of a model's repository: YAML head, figures with intervals, data, limits, and how to use it.

    Args:
        measured: metrics.json of the run; `settings` its config.json.
        folder: the bundle, whose files are named.
        repo: "owner/name" for the examples.
        data: title, licence, citation and traps of the data set's manifest, as far as known.
    """
    repo = repo or "owner/name"
    figures = {name: figure for name, figure in measured.get("figures", {}).items() if name in TITLES and figure["n"]}
    counts = [(part, _size(entry)) for part, entry in (measured.get("counts") or {}).items() if part != "all"]
    versions = measured.get("versions") or {}
    head_layers = []
    if (folder / "head.safetensors").is_file():
        head_layers = str(model.get_submodule(model.pretrained_cfg["classifier"])).splitlines()
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True)
    environment.filters["decimals"] = _decimals
    return environment.get_template("card.md").render(
        head=_head(model, measured, figures, repo).to_yaml(),
        name=repo.split("/")[-1],
        repo=repo,
        spec=model.spec,
        ranks=_ranks(model),
        measured=measured,
        settings=settings,
        data=data,
        figures=figures,
        titles=TITLES,
        counts=[f"{part} {size}" for part, size in counts],
        picture=(folder / "confusion_matrix.png").is_file(),
        licence=_licence(model),
        head_layers=head_layers,
        versions=", ".join(f"{package} {number}" for package, number in versions.items()),
    )


def _head(model: Module, measured: Mapping[str, Any], figures: Mapping[str, Any], repo: str) -> ModelCardData:
    """What the hub reads: licence, tags, and the results of its own table."""
    ranks = _ranks(model)
    tags = ["image-ranking"] if ranks else ["facial-expression-recognition", "emotion"]
    tags += ["timm", "onnx"]
    if measured.get("demo"):
        tags.append("demo-data")
    results = [
        EvalResult(
            task_type="other" if ranks else "image-classification",
            task_name="Ranking of photographs" if ranks else "Facial expression recognition",
            dataset_type=measured["data"],
            dataset_name=measured["data"],
            dataset_split="test pairs" if ranks else "golden test set",
            metric_type=name,
            metric_value=figures[name]["value"],
            metric_name=TITLES[name],
        )
        for name in RESULTS
        if name in figures
    ]
    licence = _licence(model)
    known = licence in LICENCES
    return ModelCardData(
        license=licence if known else "other",
        license_name=None if known else "see-below",
        library_name="timm",
        pipeline_tag=None if ranks else "image-classification",
        model_name=repo.split("/")[-1],
        eval_results=results or None,
        tags=tags,
    )


def _ranks(model: Module) -> bool:
    return model.spec.get("task") == "score"


def _licence(model: Module) -> str:
    """Of the pretrained weights, "" where timm does not state it."""
    return str(model.pretrained_cfg.get("license") or "")


def _size(entry: Any) -> int:
    """Rows of a part: a number, or a table of classes with their sum as "all"."""
    return entry["all"] if isinstance(entry, Mapping) else entry


def _decimals(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def space(title: str) -> str:
    """The README.md of a Space: its YAML head is what the hub reads."""
    try:
        version = metadata.version("gradio")
    except metadata.PackageNotFoundError:  # it is needed where the page runs, not here
        version = "6.0.0"
    head = SpaceCardData(title=title, sdk="gradio", sdk_version=version, app_file="app.py", pinned=False)
    return str(SpaceCard.from_template(head, template_str=SPACE))
