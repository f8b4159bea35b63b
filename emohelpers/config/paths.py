"""Where inputs are found and results go. The only file that knows /kaggle and /content, or reads the environment."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from emohelpers.config import fetching, locks, secrets
from emohelpers.config.errors import InputNotFound
from emohelpers.config.listing import listing

DOTENV = Path(".env")

KAGGLE_FOLDERS = {  # the folders that the original notebooks promised below /kaggle/working
    "01_baseline_training": "baseline_model",
    "03_augmented_training": "augmented_model",
    "07_deam_gan_vit": "vit_augmented",
}


def expanded(text: str | Path) -> Path:
    """A path that a user wrote, `~` in it replaced by the home folder.

    Raises:
        InputNotFound: nobody knows where that is.
    """
    path = os.path.expanduser(text)  # unlike pathlib's it leaves a `~name` that nobody has
    if str(text)[:1] == "~" and (path == str(text) and not os.path.exists(path) or "emohelpers-nobody-" in path):
        raise InputNotFound(f"{text!r}: there is no such home folder on this machine. Write the whole path")
    return Path(path)


def below(root: Path, name: str) -> Path:
    """The file `name` of a table, below `root` or, by a link, below a folder that `EMOHELPERS_INPUTS` names.

    Raises:
        InputNotFound: it lies elsewhere.
    """
    file = root / name
    if not any(file.resolve().is_relative_to(folder.resolve()) for folder in (root, *input_roots())):
        raise InputNotFound(
            f"{name!r} leads to {file.resolve()}, out of {root}: copy it there, or name its folder in EMOHELPERS_INPUTS"
        )
    return file


def host() -> str:
    """The notebook service we run on: kaggle, colab, or "" for any other machine."""
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return "kaggle"
    return "colab" if "COLAB_RELEASE_TAG" in os.environ or "google.colab" in sys.modules else ""


def handed_on(home: Path) -> str:
    """`home` as text; processes that are started from here on import from it first."""
    os.environ["PYTHONPATH"] = f"{home}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
    return str(home)


def input_roots() -> list[Path]:
    """Folders below which data sets are mounted; `EMOHELPERS_INPUTS` (separated like PATH) replaces them."""
    if named := os.environ.get("EMOHELPERS_INPUTS"):
        return [expanded(p) for p in named.split(os.pathsep) if p]
    return [Path("/kaggle/input"), Path("/content/drive/MyDrive"), Path("/content")] if host() else []


def outputs_root() -> Path:
    """`EMOHELPERS_OUTPUTS`, /kaggle/working, /content/outputs, or `outputs/` of the checkout we stand in."""
    if named := os.environ.get("EMOHELPERS_OUTPUTS"):
        return expanded(named).resolve()
    if host():
        return Path("/kaggle/working") if host() == "kaggle" else Path("/content/outputs")
    here = Path.cwd().resolve()
    homes = [p for p in (here, *here.parents) if (p / "notebooks").is_dir() and (p / "data_manifests").is_dir()]
    return (homes[0] if homes else here) / "outputs"


def cache_folder() -> Path:
    """For what can be made again (decoded images, downloads): never part of a run's results."""
    if named := os.environ.get("EMOHELPERS_CACHE"):
        return expanded(named).resolve()
    # /kaggle/working keeps 20 GB and is saved with the notebook; /kaggle/temp is scratch.
    return Path("/kaggle/temp/emohelpers") if host() == "kaggle" else outputs_root() / "cache"


def run_name(preset: str) -> str:
    """One pass of the suite: `EMOHELPERS_RUN` where the runner names it, else the preset."""
    return os.environ.get("EMOHELPERS_RUN") or preset


def claimed(folder: Path) -> Path:
    """The folder of results, kept from other processes until this one ends, see `locks.claim`.

    Of a training's several processes (torchrun) the first one keeps it for all.
    """
    if os.environ.get("RANK", "0") == "0":
        locks.claim(folder)
    return folder


def results(stem: str, run: str) -> Path:
    """Where one notebook's results of a run belong; on Kaggle the folders that the originals promised."""
    if host() == "kaggle" and stem in KAGGLE_FOLDERS and run in ("demo", "full"):
        return outputs_root() / KAGGLE_FOLDERS[stem]
    return outputs_root() / run / stem


def run_folder(stem: str, *, run: str = "demo", output_dir: str = "") -> Path:
    """The folder of one notebook's results, made if missing and proved writable before any work is done."""
    folder = expanded(output_dir).resolve() if output_dir else results(stem, run)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # several processes probe at once
    except OSError as error:
        raise PermissionError(
            f"cannot write results to {folder} ({error.strerror}). Give OUTPUT_DIR a folder that can be written "
            "(a command's --out), or free some space."
        ) from error
    return folder


def table_file(out: str | Path, name: str) -> Path:
    """The CSV that a command's `--out` means: the one it names (or whose sheet.png it names), or `name` in a folder.

    Raises:
        PermissionError: nothing can be written there, or a file is in the way.
    """
    named = Path(out).expanduser()
    if named.suffix.lower() in (".csv", ".png") and not named.is_dir():
        return run_folder("", output_dir=str(named.parent)) / f"{named.stem}.csv"
    return run_folder("", output_dir=str(named)) / name


def _mounts(handle: str) -> list[Path]:
    """Every place where Kaggle is known to mount `owner/slug` (or a bare slug), old and new layouts."""
    owner, slug = handle.split("/", 1) if "/" in handle else ("", handle)  # a model's slug goes on: vit/pytorch/base/1
    found = []
    for root in input_roots():
        found += [root / slug, root / "competitions" / slug]
        for kind in ("datasets", "notebooks", "models"):
            found.append(root / kind / owner / slug if owner else root / kind / slug)
            if not owner:  # a bare slug: one owner level, never deeper
                found += [p / slug for p in _folders(root / kind)]
    return found


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(p for p in place.iterdir() if os.path.isdir(p))
    except OSError:  # not there, or closed to us: for the search the same, and `listing` tells which
        return []


def _places(name: str) -> list[Path]:
    given = expanded(name.removeprefix(fetching.ASKED))
    return [given] if given.is_absolute() else [given, *_mounts(str(given))]


def located(name: str) -> Path | None:
    """The existing folder or file that a path or a Kaggle handle names, or None."""
    with contextlib.suppress(InputNotFound):  # a home folder that nobody knows
        # closed folders and endless names are not there, too: Path.exists raises
        return next((place.resolve() for place in _places(name) if os.path.exists(place)), None)
    return None


def find_input(name: str | Path, *, remedy: str = "") -> Path:
    """An existing folder or file, given as a path or as a Kaggle handle `owner/slug`.

    Raises:
        InputNotFound: with every place tried and what the input roots hold.
    """
    name = str(name)
    tried = _places(name)
    if found := located(name) or fetching.fetched(name, hosted=host() == "colab"):
        return found
    places = "\n".join(f"  {p}" for p in tried)
    around = "\n".join(listing(root, depth=3) for root in input_roots())  # datasets/<owner>/<slug>
    advice = remedy or "On Kaggle: Add Input, search for it, attach it. Elsewhere: give the unpacked folder's path."
    raise InputNotFound(f"{name!r} was not found. Places tried:\n{places}\n{around}\n{advice}".replace("\n\n", "\n"))


def find_result(stem: str, file: str, *, run: str, named: str = "") -> Path:
    """A file that an earlier notebook wrote: `named` if given, else of the same run, else of an attached output."""
    if named:
        return find_input(named)
    own = results(stem, run) / file
    found = own if own.is_file() else attached(file, ["", stem, KAGGLE_FOLDERS.get(stem, stem), f"{run}/{stem}"])
    if found:
        return found
    places = [str(own), *(f"below {root}" for root in input_roots())]
    raise InputNotFound(
        f"{file} of notebook {stem} was not found: looked for {', '.join(places)}. "
        f"Run {stem}.ipynb first (make run NB={stem[:2]}), or on Kaggle attach its output by Add Input -> Notebooks."
    )


def earlier(file: str, folder: Path) -> Path | None:
    """`file` of this very results folder in an attached output: a Kaggle session starts with an empty folder."""
    places = [folder.name, f"{folder.parent.name}/{folder.name}", ""]
    root = outputs_root()
    if folder.is_relative_to(root):  # one training of many lies deeper
        places.append(folder.relative_to(root).as_posix())
    return attached(file, places)


def attached(file: str, folders: list[str]) -> Path | None:
    """`file` in one of `folders` of an earlier notebook's output that is mounted as an input, old and new layouts."""
    for root in input_roots():
        outputs = [mount for owner in _folders(root / "notebooks") for mount in _folders(owner)]
        for mount in [root, *_folders(root), *outputs]:
            for folder in folders:
                if (mount / folder / file).is_file():
                    return mount / folder / file
    return None


def cards() -> list[str]:
    """Names of the graphics cards that this process may use, for CUDA_VISIBLE_DEVICES; asked without loading torch."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [card for card in named.split(",") if card.strip() and card.strip() != "-1"]
    try:
        ask = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        return subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):  # no driver, no card
        return []


def secret(name: str) -> str:
    """A secret from the environment, a `.env` file here, else Kaggle's or Colab's own store; "" if it is nowhere.

    Raises:
        SecretError: what is there can be no key.
    """
    return secrets.clean(name, os.environ.get(name) or secrets.read(DOTENV).get(name) or secrets.stored(host(), name))


def remember_secrets() -> None:
    """Lets `redact` know every secret of the environment and of the `.env` file here."""
    with contextlib.suppress(secrets.SecretError):  # told to who asks for one
        for name, text in secrets.read(DOTENV).items():
            secrets.remember(name, text)
    for name, text in os.environ.items():
        secrets.remember(name, text)
