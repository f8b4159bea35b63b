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
from torch.nn import Module

from emohelpers import models
from emohelpers.config import files, paths, secrets
from emohelpers.config.errors import SuiteError
from emohelpers.config.redaction import brief
from emohelpers.config.secrets import SecretError
from emohelpers.export import card

TRIES = 3  # attempts while the hub answers with an error of its own
WAIT = 2.0  # seconds before the second, doubled
TOKEN = "the token of the hub"
SPACE = Path(__file__).parent / "space"  # the files of a page that anybody can try
HEAD = "head.safetensors"  # beside the trunk, where timm has no such head


class PublishError(SuiteError, RuntimeError):
    """What kept a model from being published, and what is to be done; the folder stays."""


def bundle(
    run: str | Path,
    out: str | Path,
    *,
    checkpoint: str | Path,
    onnx: str | Path,
    int8: str | Path | None = None,
    repo: str = "",
    data: Mapping[str, Any] | None = None,
) -> Path:
    """Makes the folder that is uploaded from what a run wrote; all of it is made new, and returned whole.

    The checkpoint is the run's, with the temperature that the run measured: it answers as the ONNX file beside it.

    Args:
        run: with metrics.json and config.json, and confusion_matrix*.png if it was drawn.
        checkpoint: of `models.save`; `onnx` of `onnx.write`; `int8` only if it was promoted.
        repo: "owner/name", for the card's examples.
        data: the manifest's title, licence, citation and traps.

    Raises:
        PublishError: files that are missing, all at once.
    """
    run = Path(run)
    copies = {
        "metrics.json": run / "metrics.json",
        "training.json": run / "config.json",
        "model.onnx": Path(onnx),
    }
    if int8:
        copies["model_int8.onnx"] = Path(int8)
    missing = [str(path) for path in (Path(checkpoint), *copies.values()) if not path.is_file()]
    if missing:
        raise PublishError(f"missing: {', '.join(missing)}. Run the notebook's cells above that write them")

    measured = json.loads(copies["metrics.json"].read_text(encoding="utf-8"))
    settings = json.loads(copies["training.json"].read_text(encoding="utf-8"))
    model = models.load(checkpoint)
    model.spec["temperature"] = measured.get("temperature", 1.0)
    for picture in sorted(run.glob("confusion_matrix*.png"))[:1]:
        copies["confusion_matrix.png"] = picture
    with files.new_folder(out, replace=True) as folder:
        in_timms_form(model, folder)
        models.save(folder / "best_model.pth", model, **model.facts)
        if "task" not in model.spec:  # it names classes
            numbers = {name: number for number, name in enumerate(model.spec["classes"])}
            files.write_json(folder / "label_map.json", numbers)
            copies["classify.py"] = SPACE / "classify.py"
        for name, path in copies.items():
            shutil.copyfile(path, folder / name)
        files.write_text(folder / "README.md", card.text(model, measured, settings, folder, repo=repo, data=data or {}))
    return Path(out)


def in_timms_form(model: Module, folder: Path) -> None:
    """Writes model.safetensors and config.json as `timm.create_model("local-dir:...", pretrained=True)` reads them.

    timm knows linear heads alone. Any other head goes to head.safetensors, and timm's form is then the trunk
    (num_classes 0), whose features the head takes.
    """
    plain = copy.deepcopy(model).cpu().eval()
    name = model.pretrained_cfg["classifier"]
    head = plain.get_submodule(name)
    facts = {"emohelpers": {k: v for k, v in model.spec.items() if k != "preprocess"}}
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


def load(place: str | Path, *, token: str | None = None, endpoint: str | None = None) -> Module:
    """The whole model of a bundle's folder or of a repository "owner/name", ready for use and for `predict`."""
    file = Path(place) / "best_model.pth"
    if not file.is_file():
        if str(place).count("/") != 1 or Path(place).exists():
            raise PublishError(f"{place} is neither a folder with best_model.pth nor a repository owner/name")
        try:
            token = secrets.clean(TOKEN, token or "") or paths.secret("HF_TOKEN")
            token = token or None  # None: that of `hf auth login`
            file = Path(huggingface_hub.hf_hub_download(str(place), file.name, token=token, endpoint=endpoint))
        except (HfHubHTTPError, OSError) as error:
            raise PublishError(f"{file.name} of {place} could not be fetched: {brief(error, 300)}") from None
    return models.load(file).eval()


def publish(
    folder: str | Path,
    repo: str,
    *,
    wanted: bool = True,
    space: str | Path | None = None,
    token: str = "",
    endpoint: str | None = None,
    wait: float = WAIT,
) -> str:
    """Uploads a bundle (and a Space beside it) if that is wanted and a token is found; prints and returns one sentence.

    What keeps the hub from taking either is told there, with the remedy: a refusal or a cut connection stops no run.
    The token is HF_TOKEN of the environment, of Kaggle's or Colab's secrets, or that of `hf auth login`.
    """
    line, reason = "", ""
    try:
        if not repo:
            reason = "no repository is named"
        elif not wanted:
            reason = "PUBLISH is False"
        elif token := token or paths.secret("HF_TOKEN") or huggingface_hub.get_token() or "":
            line = f"published: {upload(folder, repo, token=token, endpoint=endpoint, wait=wait)}"
        else:
            reason = "there is no token (HF_TOKEN as secret, or `hf auth login`)"
    except SecretError as error:
        reason = str(error)
    except PublishError as error:
        line, space = str(error), None
    if reason:
        line = f"not published, since {reason}: {folder} is the folder"
    elif space:
        try:
            page = upload(space, f"{repo}-demo", token=token, endpoint=endpoint, kind="space", wait=wait)
            line += f", Space: {page}"
        except PublishError as error:
            line += f"; {error}"
    print(line)
    return line


def upload(
    folder: str | Path,
    repo: str,
    *,
    token: str,
    endpoint: str | None = None,
    kind: str = "model",
    wait: float = WAIT,
) -> str:
    """Creates the repository if it is not there and puts the folder into it by one commit; returns its address.

    A new repository is private. An existing one keeps its visibility and its other files. An error of the hub itself
    (5xx) is tried again, after `wait` seconds and then twice as long.

    Raises:
        PublishError: the token was refused, the hub kept failing, or it could not be reached.
    """
    token = secrets.clean(TOKEN, token)
    for attempt in range(TRIES):
        try:  # an error's cause is not shown beside it: its text may hold the token
            return _commit(Path(folder), repo, HfApi(token=token, endpoint=endpoint), kind)
        except Exception as error:  # no network, a file broke off: other types in each version of the client
            refusal = error if isinstance(error, HfHubHTTPError) else error.__cause__  # of one file's upload
            status, cause = 0, str(error) or type(error).__name__
            if isinstance(refusal, HfHubHTTPError):
                status = refusal.response.status_code
                cause = f"HTTP {status}, {refusal.server_message or 'without a reason'}"
            if status < 500 or attempt + 1 == TRIES:
                raise PublishError(_refusal(status, cause, repo, folder, kind)) from None
            time.sleep(wait * 2**attempt)
    raise AssertionError("unreachable")


def _commit(folder: Path, repo: str, api: HfApi, kind: str) -> str:
    api.create_repo(repo, private=True, exist_ok=True, repo_type=kind, space_sdk="gradio" if kind == "space" else None)
    contents = sorted(path for path in folder.rglob("*") if path.is_file())
    additions = [CommitOperationAdd(path.relative_to(folder).as_posix(), str(path)) for path in contents]
    title = "Model and card of the emotion notebooks" if kind == "model" else "Page of the emotion notebooks"
    commit = api.create_commit(repo, additions, commit_message=title, repo_type=kind)
    return str(commit.commit_url).split("/commit/")[0]


def _refusal(status: int, cause: str, repo: str, folder: str | Path, kind: str) -> str:
    """One sentence: what was not published, why, and what is to be done."""
    remedy = {
        0: "the hub was not reached or the connection broke off, so turn internet on or try again later",
        401: "the token is wrong or expired, so make one with write access in the hub's settings",
        402: "the hub wants a paying account for that, so name a repository of one",
        403: "the token may not write there, so give it write access or name a repository of its owner",
        404: "there is no such owner, so name the repository owner/name",
        429: "there were too many requests, so try again in some minutes",
    }.get(status, "the hub keeps failing, so try again later" if status >= 500 else "the hub refused")
    stays = f"{folder} stays, and `hf upload {repo} {folder} --private` sends it"
    if kind == "space":
        stays = f"{folder} stays, and `python app.py` there opens the page"
    cause = " ".join(brief(cause, 200).split())
    return f"the {kind} {repo} was not published ({cause}): {remedy}; {stays}"


def space(out: str | Path, onnx: str | Path, *, title: str, description: str) -> Path:
    """Makes the folder of a Hugging Face Space: a page on which anybody's picture is named; `python app.py` runs it.

    It needs gradio and what stands in its requirements.txt, and no PyTorch.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for source in SPACE.iterdir():
        if source.is_file():
            shutil.copyfile(source, out / source.name)
    shutil.copyfile(onnx, out / "model.onnx")
    files.write_json(out / "page.json", {"title": title, "description": description})
    files.write_text(out / "README.md", card.space(title))
    return out
