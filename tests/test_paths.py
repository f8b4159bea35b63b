import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emohelpers import config
from emohelpers.config import paths
from emohelpers.config.faces import Baseline
from emohelpers.config.paths import InputNotFound, find_input, find_result, listing, run_folder
from emohelpers.datasets import faces

WATCHERS: list[list[str]] = []


def _note(event: str, arguments: tuple) -> None:
    if WATCHERS and event in ("os.listdir", "os.scandir"):
        WATCHERS[-1].append(str(arguments[0]))


sys.addaudithook(_note)  # hears of every listing, whatever function asks; it cannot be taken away, so it sleeps


@contextmanager
def watched(root: Path) -> Iterator[set[str]]:
    """Fills a set with the folders below `root`, relative to it, that are listed within the block."""
    WATCHERS.append([])
    folders: set[str] = set()
    try:
        yield folders
    finally:
        listed = [Path(p) for p in WATCHERS.pop()]
        folders |= {p.relative_to(root).as_posix() for p in listed if p.is_relative_to(root)}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """An input root, an outputs root and a working folder of this test's own; no host."""
    for name, folder in {"EMOHELPERS_INPUTS": "input", "EMOHELPERS_OUTPUTS": "outputs"}.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    for name in ("EMOHELPERS_CACHE", "EMOHELPERS_RUN", "KAGGLE_KERNEL_RUN_TYPE", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "input").mkdir()
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    return tmp_path


def lost(*args, **kwargs) -> str:
    with pytest.raises(InputNotFound) as caught:
        (kwargs.pop("call", find_input))(*args, **kwargs)
    return str(caught.value)


# ---------------------------------------------------------------- inputs

MOUNTS = [
    ("manavukani/affectnet", "affectnet"),
    ("manavukani/affectnet", "datasets/manavukani/affectnet"),
    ("me/01-baseline", "01-baseline"),
    ("me/01-baseline", "notebooks/me/01-baseline"),
    ("google/vit", "models/google/vit"),
    ("google/vit/pytorch/base/1", "models/google/vit/pytorch/base/1"),
    ("google/vit/pytorch/base/1", "vit/pytorch/base/1"),
    ("faces-2024", "competitions/faces-2024"),
    ("affectnet", "affectnet"),
    ("affectnet", "datasets/manavukani/affectnet"),
    ("01-baseline", "notebooks/me/01-baseline"),
    ("vit", "models/google/vit"),
]


@pytest.mark.parametrize("handle, mount", MOUNTS)
def test_a_handle_is_found_wherever_kaggle_mounts_it(places, handle, mount):
    (places / "input" / mount).mkdir(parents=True)
    (places / "input" / "datasets" / "somebody" / "else").mkdir(parents=True)
    assert find_input(handle) == places / "input" / mount


def test_an_owner_is_never_answered_by_another(places):
    (places / "input" / "datasets" / "other" / "affectnet").mkdir(parents=True)
    text = lost("manavukani/affectnet")
    assert str(places / "input" / "datasets" / "manavukani" / "affectnet") in text and "datasets/" in text


def test_paths_are_taken_as_they_are_and_come_back_absolute(places, monkeypatch):
    monkeypatch.setenv("HOME", str(places))
    file = places / "mine" / "dönnées 日本" / "a.csv"
    file.parent.mkdir()
    file.touch()
    assert (
        find_input(str(file))
        == find_input(file)
        == find_input("dönnées 日本/a.csv")
        == find_input("~/mine/dönnées 日本/a.csv")
        == file
    )


def test_several_roots_are_searched_in_their_order(places, monkeypatch):
    for name in ("one", "two"):
        (places / name / "affectnet").mkdir(parents=True)
    roots = os.pathsep.join(str(places / name) for name in ("absent", "two", "one"))
    monkeypatch.setenv("EMOHELPERS_INPUTS", roots + os.pathsep)
    assert find_input("me/affectnet") == places / "two" / "affectnet"


def test_what_is_not_there_is_told_with_places_surroundings_and_remedy(places):
    (places / "input" / "datasets" / "me" / "raf-db").mkdir(parents=True)
    text = lost("me/affectnet")
    for place in ("", "datasets/me", "notebooks/me", "models/me", "competitions"):
        assert f"\n  {places / 'input' / place / 'affectnet'}\n" in text, place
    assert "'me/affectnet' was not found" in text and "raf-db/" in text and "Add Input" in text
    assert lost("me/affectnet", remedy="Draw it.").endswith("Draw it.")
    away = lost(str(places / "nowhere"))
    assert str(places / "nowhere") in away and "datasets/me" not in away, "an absolute path is not a handle"


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 9 + "b", "../../none", "me/ünbekannt"])
def test_odd_names_are_not_found_like_others(places, name):
    assert f"{name!r} was not found" in lost(name)


def test_the_search_never_walks(places):
    root = places / "input"
    for owner in range(12):
        for slug in range(4):
            (root / "datasets" / f"o{owner}" / f"s{slug}" / "train" / "happy" / "deep").mkdir(parents=True)
    (root / "s9" / "train" / "happy" / "deep").mkdir(parents=True)
    with watched(root) as listed:
        assert find_input("o3/s2") == root / "datasets" / "o3" / "s2"
    assert listed == set(), "a handle is looked up, nothing is listed"
    with watched(root) as listed:
        find_input("s2")
    assert listed == {"datasets", "models", "notebooks"}, "a bare name: the owners, and nothing below them"
    with watched(root) as listed:
        lost("o3/absent")
        lost("absent")
        lost("01", "metrics.json", run="demo", call=find_result)
    assert "datasets" in listed and len(listed) < 12 and max(folder.count("/") for folder in listed) <= 1, listed


def test_a_listing_is_short_and_says_what_is_there(places):
    root = places / "input"
    assert listing(root / "absent") == f"{root / 'absent'} does not exist"
    assert listing(root) == f"{root} holds:\n  nothing"
    for i in range(30):
        (root / "many" / f"{i:02d}").mkdir(parents=True)
    (root / "a.csv").touch()
    lines = listing(root).splitlines()
    assert lines[:4] == [f"{root} holds:", "  a.csv", "  many/", "    00/"] and len(lines) == 13
    assert listing(root / "a.csv") == f"{root / 'a.csv'} is a file"


def test_a_folder_that_may_not_be_read_does_not_hide_the_error(places, monkeypatch):
    """Root reads everything, so the system's refusal is raised where the listing asks for it."""
    real, root = os.listdir, places / "input"
    (root / "datasets").mkdir()
    (root / "readable").mkdir()
    refused = {str(root / "datasets")}

    def listdir(place="."):
        if os.fspath(place) in refused:
            raise PermissionError(13, "Permission denied", os.fspath(place))
        return real(place)

    monkeypatch.setattr(os, "listdir", listdir)
    text = lost("affectnet")
    assert "'affectnet' was not found" in text and "readable/" in text and "Add Input" in text
    assert "    (cannot be listed: Permission denied)" in text
    refused.add(str(root))
    assert listing(root) == f"{root} holds:\n  (cannot be listed: Permission denied)"


def test_kagglehub_is_asked_on_colab_and_where_the_user_asks(places, monkeypatch):
    """A module stands for kagglehub, which is optional and whose service is elsewhere."""
    (places / "site").mkdir()
    (places / "site" / "kagglehub.py").write_text(
        "import os\ndef dataset_download(handle):\n"
        "    if 'KAGGLE_API_TOKEN' not in os.environ: raise PermissionError('403, nobody')\n"
        f"    return {str(places)!r} + '/fetched/' + handle\n"
    )
    monkeypatch.syspath_prepend(str(places / "site"))
    monkeypatch.setenv("KAGGLE_API_TOKEN", "t")
    assert find_input("kaggle:me/affectnet") == places / "fetched" / "me" / "affectnet"
    assert "Places tried" in lost("me/affectnet"), "unasked on a machine of one's own"
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20250101")
    assert find_input("me/affectnet") == places / "fetched" / "me" / "affectnet"
    assert "Places tried" in lost("/content/gone"), "a path is no handle"
    (places / "input" / "affectnet").mkdir()
    assert find_input("kaggle:me/affectnet") == find_input("me/affectnet") == places / "input" / "affectnet"
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    told = lost("me/raf-db")
    assert "PermissionError: 403, nobody" in told and "KAGGLE_API_TOKEN" in told and "terms" in told


def test_without_kagglehub_or_network_the_refusal_says_how(places, monkeypatch):
    """The real package's refusal where it is installed, here without network; else that it is missing."""
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")  # nobody answers there
    told = lost("kaggle:me/affectnet")
    assert "is not fetched" in told and "pip install kagglehub" in told and "or name a folder" in told


# ---------------------------------------------------------------- hosts


def test_kaggle_is_known_by_its_environment(places, monkeypatch):
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    for name in ("EMOHELPERS_INPUTS", "EMOHELPERS_OUTPUTS"):
        monkeypatch.delenv(name)
    assert paths.host() == "kaggle" and paths.input_roots()[0] == Path("/kaggle/input")
    assert paths.outputs_root() == Path("/kaggle/working")
    assert not paths.cache_folder().is_relative_to("/kaggle/working"), "the cache would fill the 20 GB that are kept"


@pytest.mark.parametrize("sign", ["release", "module"])
def test_colab_is_known_by_its_release_or_its_module(places, monkeypatch, sign):
    if sign == "release":
        monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20250101")
    else:
        monkeypatch.setitem(sys.modules, "google.colab", sys)
    for name in ("EMOHELPERS_INPUTS", "EMOHELPERS_OUTPUTS"):
        monkeypatch.delenv(name)
    assert paths.host() == "colab" and paths.outputs_root() == Path("/content/outputs")
    assert Path("/content/drive/MyDrive") in paths.input_roots() and Path("/content") in paths.input_roots()


def test_full_without_data_says_which_data_set_to_attach(places, monkeypatch):
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    cfg = config.make(Baseline)
    assert cfg.preset == "full"
    with pytest.raises(faces.ManifestError) as caught:
        faces.load(cfg.manifest, cfg.dataset_root, cfg.labels_csv)
    text = str(caught.value)
    assert "attach manavukani/affectnet by Add Input" in text and str(places / "input" / "affectnet") in text


def test_elsewhere_there_are_no_roots_and_results_lie_in_the_checkout(places, monkeypatch):
    for name in ("EMOHELPERS_INPUTS", "EMOHELPERS_OUTPUTS"):
        monkeypatch.delenv(name)
    assert paths.host() == "" and paths.input_roots() == []
    assert paths.outputs_root() == places / "mine" / "outputs"
    for name in ("notebooks", "data_manifests"):
        (places / name).mkdir()
    assert paths.outputs_root() == places / "outputs", "also from a folder below the checkout"
    monkeypatch.chdir(places / "notebooks")
    assert paths.outputs_root() == places / "outputs" and paths.cache_folder() == places / "outputs" / "cache"


def test_environment_names_win(places, monkeypatch):
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    monkeypatch.setenv("EMOHELPERS_CACHE", str(places / "scratch"))
    assert paths.cache_folder() == places / "scratch" and paths.outputs_root() == places / "outputs"
    assert paths.run_name("demo") == "demo"
    monkeypatch.setenv("EMOHELPERS_RUN", "nightly")
    assert paths.run_name("demo") == "nightly"


# ---------------------------------------------------------------- results


def test_results_lie_by_run_and_stem_on_kaggle_by_the_seeds_name_or_where_asked(places, monkeypatch):
    stem = "01_baseline_training"
    assert run_folder(stem, run="full") == places / "outputs" / "full" / stem
    assert run_folder(stem, run="full", output_dir="mine") == places / "mine" / "mine"
    monkeypatch.setenv("HOME", str(places))
    assert run_folder(stem, output_dir="~/mine/ünder") == places / "mine" / "ünder"
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert run_folder(stem, run="full") == places / "outputs" / "baseline_model"
    assert run_folder("02_other", run="full") == places / "outputs" / "full" / "02_other"
    assert [p for p in places.rglob("*") if p.is_file()] == [], "the proof of writing is taken away"


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_folder_that_cannot_be_made_is_an_error_with_the_remedy(places, below):
    (places / "taken").write_text("a file")
    with pytest.raises(PermissionError) as caught:
        run_folder("01", output_dir=str(places / "taken" / below))
    text = str(caught.value)
    assert f"cannot write results to {places / 'taken' / below}" in text and "Give OUTPUT_DIR a folder" in text
    assert (places / "taken").read_text() == "a file"


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


STEM = "01_baseline_training"
ATTACHED = [
    "metrics.json",  # the root itself is the attached output
    "01-baseline/metrics.json",
    "01-baseline/baseline_model/metrics.json",
    f"01-baseline/full/{STEM}/metrics.json",
    f"notebooks/me/01-baseline/{STEM}/metrics.json",
    "notebooks/me/01-baseline/baseline_model/metrics.json",
]


@pytest.mark.parametrize("mount", ATTACHED)
def test_an_attached_notebooks_result_is_found(places, mount):
    file = put(places / "input" / mount)
    assert find_result(STEM, "metrics.json", run="full") == file
    with pytest.raises(InputNotFound):
        find_result("07_deam_gan_vit", "other.json", run="full")


def test_the_run_itself_comes_first_another_run_never_and_a_name_before_all(places):
    attached = put(places / "input" / "01-baseline" / "metrics.json")
    put(places / "outputs" / "demo" / STEM / "metrics.json")
    assert find_result(STEM, "metrics.json", run="full") == attached, "drawn faces' results are not real faces'"
    own = put(places / "outputs" / "full" / STEM / "metrics.json")
    assert find_result(STEM, "metrics.json", run="full") == own
    named = put(places / "elsewhere" / "m.json")
    assert find_result(STEM, "metrics.json", run="full", named=str(named)) == named
    assert "'gone.json' was not found" in lost(STEM, "metrics.json", run="full", named="gone.json", call=find_result)


def test_a_result_that_nobody_made_says_what_to_run_and_leaves_no_folder(places):
    text = lost(STEM, "metrics.json", run="full", call=find_result)
    assert str(places / "outputs" / "full" / STEM / "metrics.json") in text and str(places / "input") in text
    assert "make run NB=01" in text and "Add Input -> Notebooks" in text
    assert not (places / "outputs").exists(), "looking for a result made its folder"


NOBODY = """import os, pwd
def nobody(*_): raise KeyError('uid not found')
pwd.getpwuid = nobody
import emohelpers, getpass, jupyter_core.paths, skimage.data
from pathlib import Path
from emohelpers.config import paths
print(Path.home().is_dir(), getpass.getuser())
try: print(paths.outputs_root())
except paths.InputNotFound as error: print(error)
print(Path.home())"""


def test_a_user_without_a_home_works_and_his_tilde_is_refused(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME")}
    environment |= {"EMOHELPERS_OUTPUTS": "~/results", "PYTHONPATH": str(Path(__file__).parents[1])}
    ran = subprocess.run([sys.executable, "-c", NOBODY], env=environment, capture_output=True, text=True, cwd=tmp_path)
    lines = ran.stdout.splitlines()
    refused = "'~/results': there is no such home folder on this machine. Write the whole path"
    assert lines[:2] == ["True nobody", refused], ran.stderr
    assert not Path(lines[2]).exists()  # the stand-in for a home


@pytest.mark.parametrize("name", ["EMOHELPERS_OUTPUTS", "EMOHELPERS_CACHE", "EMOHELPERS_INPUTS"])
def test_a_tilde_is_the_home_folder(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(name, "~/a")
    folders = {paths.outputs_root(), paths.cache_folder(), *paths.input_roots()}
    assert tmp_path / "a" in folders
    monkeypatch.setenv(name, "~no-such-user/a")
    with pytest.raises(paths.InputNotFound, match="no such home folder"):
        paths.outputs_root(), paths.cache_folder(), paths.input_roots()
