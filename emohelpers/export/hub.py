"""A trained model on the Hugging Face hub: the folder that is uploaded, its model card, one commit, and the way back.

`bundle` makes the folder, `upload` puts it into a repository by one commit, so nothing is ever there in part. `load`
reads a folder or a repository. Without a token, or by choice, the folder is all that is made.
"""

import copy
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import save_file
from timm.models import save_for_hf
from torch import nn

from emohelpers import models
from emohelpers.config import files, paths
from emohelpers.export import card

TRIES, WAIT = 3, 2.0  # attempts while the hub answers with an error of its own; seconds before the second, doubled
HEAD = "head.safetensors"  # beside the trunk, where timm has no such head


class PublishError(RuntimeError):
    """What kept a model from being published, and what is to be done; the folder stays."""


def bundle(
    run: str | Path, out: str | Path, *, checkpoint: str | Path, onnx: str | Path, int8: str | Path | None = None,
    repo: str = "", data: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Makes the folder that is uploaded from what a run wrote; all of it is made new, and returned whole.

    The checkpoint is the run's, with the temperature that the run measured: it answers as the ONNX file beside it.

    Args:
        run: with metrics.json and config.json, and confusion_matrix*.png if it was drawn.
        checkpoint: of `models.save`; `onnx` of `export.onnx`; `int8` only if it was promoted.
        repo: "owner/name", for the card's examples.
        data: the manifest's title, licence, citation and traps.

    Raises:
        PublishError: files that are missing, all at once.
    """
    run, out = Path(run), Path(out)
    needed = [run / "metrics.json", run / "config.json", Path(checkpoint), Path(onnx), *([Path(int8)] if int8 else [])]
    if missing := [str(path) for path in needed if not path.is_file()]:
        raise PublishError(f"missing: {', '.join(missing)}. Run the notebook's cells above that write them")
    measured = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    model = models.load(checkpoint)
    model.spec["temperature"] = measured.get("temperature", 1.0)
    with files.new_folder(out, replace=True) as new:
        in_timms_form(model, new)
        models.save(new / "best_model.pth", model, **model.facts)
        shutil.copyfile(onnx, new / "model.onnx")
        if int8:
            shutil.copyfile(int8, new / "model_int8.onnx")
        if "task" not in model.spec:  # it names classes
            files.write_json(new / "label_map.json", {name: i for i, name in enumerate(model.spec["classes"])})
            shutil.copyfile(Path(__file__).parent / "space" / "classify.py", new / "classify.py")
        for picture in sorted(run.glob("confusion_matrix*.png"))[:1]:
            shutil.copyfile(picture, new / "confusion_matrix.png")
        shutil.copyfile(run / "metrics.json", new / "metrics.json")
        shutil.copyfile(run / "config.json", new / "training.json")
        files.write_text(new / "README.md", card.text(model, measured, settings, new, repo=repo, data=data or {}))
    return out


def in_timms_form(model: nn.Module, folder: Path) -> None:
    """Writes model.safetensors and config.json as `timm.create_model("local-dir:...", pretrained=True)` reads them.

    timm knows linear heads alone. Any other head goes to head.safetensors, and timm's form is then the trunk
    (num_classes 0), whose features the head takes.
    """
    plain, name = copy.deepcopy(model).cpu().eval(), model.pretrained_cfg["classifier"]
    head = plain.get_submodule(name)
    facts: dict[str, Any] = {"emohelpers": {k: v for k, v in model.spec.items() if k != "preprocess"}}
    folder.mkdir(parents=True, exist_ok=True)
    if type(head) is nn.Linear:
        facts["label_names"] = list(model.spec["classes"])
    else:
        save_file({key: value.contiguous() for key, value in head.state_dict().items()}, folder / HEAD)
        parent, _, leaf = name.rpartition(".")
        setattr(plain.get_submodule(parent), leaf, nn.Identity())
        plain.num_classes = 0
    size = model.spec["img_size"]
    plain.pretrained_cfg = {**plain.pretrained_cfg, "num_classes": plain.num_classes, "input_size": (3, size, size)}
    arguments = {"img_size": size} if plain.pretrained_cfg.get("fixed_input_size") else None
    save_for_hf(plain, folder, model_config=facts, model_args=arguments, safe_serialization=True)


def load(place: str | Path, *, token: str | None = None, endpoint: str | None = None) -> nn.Module:
    """The whole model of a bundle's folder or of a repository "owner/name", ready for use and for `predict`."""
    file = Path(place) / "best_model.pth"
    if not file.is_file():
        if str(place).count("/") != 1 or Path(place).exists():
            raise PublishError(f"{place} is neither a folder with best_model.pth nor a repository owner/name")
        try:
            token = token or paths.secret("HF_TOKEN") or None  # None: that of `hf auth login`
            file = Path(huggingface_hub.hf_hub_download(str(place), file.name, token=token, endpoint=endpoint))
        except (HfHubHTTPError, OSError) as error:
            raise PublishError(f"{file.name} of {place} could not be fetched: {str(error)[:300]}") from error
    return models.load(file).eval()


def publish(
    folder: str | Path, repo: str, *, wanted: bool = True, space: str | Path | None = None, private: bool = True,
    token: str = "", endpoint: str | None = None,
) -> str:  # fmt: skip
    """Uploads a bundle (and a Space beside it) if that is wanted and a token is found; prints and returns one line.

    The token is HF_TOKEN of the environment, of Kaggle's or Colab's secrets, or that of `hf auth login`.
    """
    token = token or paths.secret("HF_TOKEN") or huggingface_hub.get_token() or ""
    if not wanted or not repo:
        line = (
            f"not published, since {'PUBLISH is False' if repo else 'no repository is named'}: {folder} is the folder"
        )
    elif not token:
        line = (
            f"not published, since there is no token (HF_TOKEN as secret, or `hf auth login`): {folder} is the folder"
        )
    else:
        line = f"published: {upload(folder, repo, token=token, private=private, endpoint=endpoint)}"
        if space:
            there = upload(space, f"{repo}-demo", token=token, private=private, endpoint=endpoint, kind="space")
            line += f", Space: {there}"
    print(line)
    return line


def upload(
    folder: str | Path, repo: str, *, token: str, private: bool = True, endpoint: str | None = None,
    kind: str = "model", wait: float = WAIT,
) -> str:  # fmt: skip
    """Creates the repository if it is not there and puts the folder into it by one commit; returns its address.

    An existing repository keeps its visibility and its other files. An error of the hub itself (5xx) is tried again.

    Raises:
        PublishError: the token was refused, the hub kept failing, or it could not be reached.
    """
    folder = Path(folder)
    api = HfApi(token=token, endpoint=endpoint)
    sdk = {"space_sdk": "gradio"} if kind == "space" else {}
    for attempt in range(TRIES):
        try:
            api.create_repo(repo, private=private, exist_ok=True, repo_type=kind, **sdk)
            found = sorted(path for path in folder.rglob("*") if path.is_file())
            parts = [CommitOperationAdd(path.relative_to(folder).as_posix(), str(path)) for path in found]
            title = "Model and card of the emotion notebooks" if kind == "model" else "Page of the emotion notebooks"
            done = api.create_commit(repo, parts, commit_message=title, repo_type=kind)
            return str(done.commit_url).split("/commit/")[0]
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status >= 500 and attempt + 1 < TRIES:
                time.sleep(wait * 2**attempt)
                continue
            raise PublishError(_told(status, repo, folder, str(error))) from error
        except Exception as error:  # no network, a part's upload broke off: other types in each version of the client
            raise PublishError(f"{repo} was not published ({str(error)[:200]}). {folder} stays; try again.") from error
    raise AssertionError("unreachable")


def _told(status: int, repo: str, folder: Path, message: str) -> str:
    remedy = {
        401: "The token was refused: it is wrong or expired. Make one with write access in the hub's settings",
        403: "The token may not write there: give it write access, or name a repository of its owner",
        404: "There is no such owner: name the repository owner/name",
    }.get(status, "The hub keeps failing: try again later" if status >= 500 else "The hub refused")
    return f"{repo} was not published (HTTP {status}). {remedy}. {folder} stays as it is.\n{message[:300]}"


def space(out: str | Path, onnx: str | Path, *, title: str, description: str, article: str = "") -> Path:
    """Makes the folder of a Hugging Face Space: a page on which anybody's picture is named; `python app.py` runs it.

    It needs gradio, onnxruntime, NumPy and Pillow, and no PyTorch.
    """
    out = Path(out)
    source = Path(__file__).parent / "space"
    out.mkdir(parents=True, exist_ok=True)
    for name in ("app.py", "classify.py"):
        shutil.copyfile(source / name, out / name)
    files.write_bytes(out / "model.onnx", Path(onnx).read_bytes())
    files.write_json(out / "page.json", {"title": title, "description": description, "article": article})
    files.write_text(out / "requirements.txt", "onnxruntime>=1.22,<2\nnumpy>=1.26,<3\npillow>=10.3\n")
    files.write_text(out / "README.md", card.space(title))
    return out
