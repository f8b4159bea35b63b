"""The model card: what a model is, what it was measured to do and what not, written from its run's own files."""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData
from torch import nn

NAMES = {"accuracy": "Accuracy", "macro_f1": "Macro F1", "weighted_f1": "Weighted F1", "ece": "Calibration error (ECE)",
         "nll": "Negative log-likelihood", "brier": "Brier score", "pairwise_accuracy": "Pairwise accuracy",
         "tau": "Kendall's tau-b inside scenes", "rho": "Spearman's rho inside scenes"}  # fmt: skip
RESULTS = ("accuracy", "macro_f1", "pairwise_accuracy")  # figures that the hub's own table shows
LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-nc-4.0", "cc-by-4.0", "cc-by-nc-sa-4.0", "openrail")

FACES = """\
- It names what a face shows to the people who labelled the pictures, not what a person feels.
- It was measured on pictures like those it learned from. Other cameras, ages, skin tones and crops can be worse; where
  groups were looked at, the run's own files say how they compare.
- It expects one face that fills the picture. Not for decisions about people: work, school, police, borders, health.
"""
PHOTOGRAPHS = """\
- It says which of two photographs of one scene people would rather have. Scores of different scenes compare loosely.
- It has learned the taste of those who judged its pairs, and the defects that these pairs show; no more.
- It judges pictures, not the people in them.
"""


def text(
    model: nn.Module, measured: Mapping[str, Any], settings: Mapping[str, Any], folder: Path, *, repo: str,
    data: Mapping[str, Any],
) -> str:  # fmt: skip
    """The README.md of a model's repository: YAML head, figures with intervals, data, limits, and how to use it.

    Args:
        measured: metrics.json of the run; `settings` its config.json.
        folder: the bundle, whose files are named.
        data: title, licence, citation and traps of the data set's manifest, as far as known.
    """
    spec, name = model.spec, repo or "owner/name"
    ranks = spec.get("task") == "score"
    figures = {key: found for key, found in measured.get("figures", {}).items() if key in NAMES and found["n"]}
    demo = bool(measured.get("demo"))
    licence = str(model.pretrained_cfg.get("license") or "")
    subject = "Ranking of photographs" if ranks else "Facial expression recognition"
    topics = ["image-ranking"] if ranks else ["facial-expression-recognition", "emotion"]
    tests = [
        EvalResult(
            task_type="other" if ranks else "image-classification", task_name=subject, dataset_type=measured["data"],
            dataset_name=measured["data"], dataset_split="test pairs" if ranks else "golden test set",
            metric_type=key, metric_value=figures[key]["value"], metric_name=NAMES[key],
        )
        for key in RESULTS if key in figures
    ]  # fmt: skip
    head = ModelCardData(
        license=licence if licence in LICENCES else "other",
        license_name=None if licence in LICENCES else "see-below", library_name="timm",
        pipeline_tag=None if ranks else "image-classification", model_name=name.split("/")[-1],
        eval_results=tests or None, tags=[*topics, "timm", "onnx", *(["demo-data"] if demo else [])],
    )  # fmt: skip
    parts = [f"---\n{head.to_yaml()}\n---\n", f"# {name.split('/')[-1]}"]
    what = f"`{spec['backbone']}` at {spec['img_size']} pixels, head `{spec['head']}`: {', '.join(spec['classes'])}."
    parts.append(what)
    if demo:
        drawn = "scenes" if ranks else "faces"
        parts.append(f"**Trained on drawn {drawn}, to show that the machinery works. It says nothing of people.**")
    parts += ["## What was measured", _figures(figures, measured), _classes(measured)]
    if (folder / "confusion_matrix.png").is_file():
        parts.append("![Confusion matrix](confusion_matrix.png)")
    parts += ["## Data and protocol", _data(measured, settings, data), "## Limits"]
    parts.append((PHOTOGRAPHS if ranks else FACES).strip())
    weights = licence or "not stated by timm; look at their source"
    parts += ["## Licences", f"- Pretrained weights of {spec['backbone']}: {weights}."]
    parts[-1] += f"\n- Data: {data.get('licence') or 'not stated in the manifest'}"
    parts += ["## Use", _use(model, folder, name), "## Made with", _versions(measured)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(figures: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    if not figures:
        return "Nothing: the run holds no figures."
    lines = ["| figure | value | 95 % interval | n |", "|---|---|---|---|"]
    for key, f in figures.items():
        lines.append(f"| {NAMES[key]} | {f['value']:.3f} | {f['low']:.3f} to {f['high']:.3f} | {f['n']} |")
    status = measured.get("status", "finished")
    more = "" if status == "finished" else f" The training is {status}, not finished."
    where = "pairs of scenes" if "pairwise_accuracy" in figures else "a golden test set"
    return "\n".join(lines) + f"\n\nOn {where} that training never saw, once.{more}"


def _classes(measured: Mapping[str, Any]) -> str:
    rows = measured.get("per_class") or []
    lines = ["| class | n | recall | 95 % interval | F1 |", "|---|---|---|---|---|"] if rows else []
    for row in rows:
        recall, f1 = (["–" if row[k] is None else f"{row[k]:.3f}" for k in ("recall", "f1")])  # fmt: skip
        ends = [row.get(k) for k in ("recall_low", "recall_high")]
        told = "–" if None in ends else f"{ends[0]:.3f} to {ends[1]:.3f}"
        lines.append(f"| {row['class']} | {row['n']} | {recall} | {told} | {f1} |")
    return "\n".join(lines)


def _data(measured: Mapping[str, Any], settings: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    lines = [f"- Data set: {data.get('title') or measured['data']}."]
    if data.get("citation"):
        lines.append(f"- Citation: {data['citation']}")
    counts = measured.get("counts") or {}
    sizes = {part: entry["all"] if isinstance(entry, Mapping) else entry for part, entry in counts.items()}
    if told := [f"{part} {size}" for part, size in sizes.items() if part != "all"]:
        what = "Pairs" if "pairwise_accuracy" in measured.get("figures", {}) else "Pictures"
        lines.append(f"- {what}: {', '.join(told)}.")
    if "golden" in settings:
        lines.append(
            f"- Golden test set `{settings['golden']}`, seed {settings.get('split_seed')}, drawn by group and guarded "
            f"against twins; hash `{str(measured.get('split'))[:12]}`."
        )
    if "temperature" in measured:
        lines.append(f"- Temperature {measured['temperature']:.3f}, fitted on the validation part.")
    lines += [f"- Known trap of the data: {trap}" for trap in data.get("traps", ())]
    return "\n".join(lines)


def _use(model: nn.Module, folder: Path, name: str) -> str:
    if model.spec.get("task") == "score":
        return (
            "With the package of these notebooks, a folder of photographs, from either file:\n\n"
            "```bash\npython -m emohelpers appeal score FOLDER model.onnx\n```"
        )
    blocks = [
        "With the package of these notebooks, any picture; the face is found and cropped:",
        f'```python\nfrom emohelpers import predict\n\nprint(predict.pictures("{name}", "photo.jpg").table)\n```',
        "Without PyTorch (`pip install onnxruntime numpy pillow`):",
        "```bash\npython classify.py model.onnx face.jpg\n```",
    ]
    if (folder / "head.safetensors").is_file():
        classifier = model.get_submodule(model.pretrained_cfg["classifier"])
        layers = "\n".join(f"#   {layer}" for layer in str(classifier).splitlines())
        blocks += [
            "With timm alone: its form holds the trunk, `head.safetensors` the head.",
            f'```python\ntrunk = timm.create_model("hf-hub:{name}", pretrained=True).eval()  # features\n{layers}\n```',
        ]
    else:
        blocks += [
            "With timm alone:",
            f'```python\nmodel = timm.create_model("hf-hub:{name}", pretrained=True).eval()  # logits\n```',
        ]
    return "\n\n".join(blocks)


def _versions(measured: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{package} {number}" for package, number in (measured.get("versions") or {}).items())
    return f"{versions or 'versions not recorded'}; {measured.get('device', 'device not recorded')}."


def space(title: str) -> str:
    """The README.md of a Space: its YAML head is what the hub reads."""
    try:
        version = metadata.version("gradio")
    except metadata.PackageNotFoundError:  # it is needed where the page runs, not here
        version = "6.0.0"
    head = {"title": title, "sdk": "gradio", "sdk_version": version, "app_file": "app.py", "pinned": False}
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n{title}. To run it here: `python app.py`.\n"
