"""Bundles: they carry what the tree holds, run where the package is not installed, and look at the machine first."""

import ast
import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import mounts
import nbformat
import pandas as pd
import pytest
from tiny import write

from emohelpers.config.faces import Baseline
from emohelpers.datasets import pairing
from emohelpers.datasets.drawn import faces as drawn_faces
from emohelpers.datasets.drawn import photos, songs
from emohelpers.models.weights import TRUNKS
from emohelpers.report import parameters
from emohelpers.suite import arguments, notebooks, session, stamps
from emohelpers.suite.bundle import build, contents, kaggle, supplies
from emohelpers.suite.notebooks import NotebookError, tags

HOME = Path(__file__).parents[1]
BOOKS = mounts.BOOKS
STEMS = list(BOOKS)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them, for a user called me."""
    folder = tmp_path_factory.mktemp("bundles")
    for book in BOOKS.values():
        build.write(book, folder, "me")
    return folder


def loaded(bundles: Path, stem: str) -> nbformat.NotebookNode:
    return nbformat.read(bundles / stem / f"{stem}.ipynb", 4)


def unpacked(book: nbformat.NotebookNode) -> dict[str, bytes]:
    """The files that a bundle carries, by name."""
    (cell,) = [cell for cell in book.cells if "package" in tags(cell)]
    carried = {}
    for content in ast.literal_eval(re.search(r"for content in (\[.*\]):", cell.source)[1]):
        with tarfile.open(fileobj=io.BytesIO(base64.b85decode(content))) as archive:
            carried |= {member.name: archive.extractfile(member).read() for member in archive.getmembers()}
    return carried


@pytest.mark.parametrize("stem", STEMS)
def test_what_it_carries_is_what_the_tree_holds(bundles: Path, stem: str) -> None:
    carried, tree = unpacked(loaded(bundles, stem)), dict(stamps.sources())
    assert carried and all(content == tree[name].read_bytes() for name, content in carried.items())
    assert {"emohelpers/__init__.py", "emohelpers/suite/session.py"} < set(carried)
    assert {name for name in tree if "/data_manifests/" in name and name.endswith(".yaml")} <= set(carried)
    modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in carried}
    for name, content in carried.items():
        for node in ast.walk(ast.parse(content)) if name.endswith(".py") else ():
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "emohelpers":
                assert node.module in modules, f"{name} imports {node.module}, which is not carried"


def test_what_is_read_and_not_imported_comes_along(bundles: Path) -> None:
    book = loaded(bundles, "04_transfer_learning")
    assert {"emohelpers/export/space/app.py", "emohelpers/export/space/classify.py"} <= set(unpacked(book))
    assert "onnxscript" in contents.used(notebooks.load(BOOKS["04_transfer_learning"].path)).extras


def test_demo_data_are_drawn_by_what_is_carried_and_no_more(bundles: Path) -> None:
    songs_alone = {"datasets/drawn/songs.py", "datasets/songs.py"}
    faces_alone = {"datasets/drawn/faces.py", "datasets/drawn/paint.py"}
    tables = {f"datasets/drawn/{path.name}" for path in Path(drawn_faces.__file__).parent.glob("*.yaml")}
    for stem in STEMS:
        names = {name.removeprefix("emohelpers/") for name in unpacked(loaded(bundles, stem))}
        assert tables and tables <= names, stem
        about_songs = stem.startswith("07")
        assert songs_alone <= names if about_songs else not songs_alone & names, stem
        if about_songs:
            assert not faces_alone & names
        elif not stem.startswith("08"):
            assert faces_alone <= names and "datasets/pairs.py" not in names, stem


@pytest.mark.parametrize("stem", STEMS)
def test_it_is_the_source_and_one_cell_more(bundles: Path, stem: str) -> None:
    source, book = nbformat.read(BOOKS[stem].path, 4), loaded(bundles, stem)
    nbformat.validate(book)
    added = [cell for cell in book.cells if cell.id.startswith("package")]
    kept = [cell for cell in book.cells if cell not in added]
    assert [cell.source for cell in kept] == [cell.source for cell in source.cells]
    assert [cell.cell_type for cell in added] == ["markdown", "code"]
    place = book.cells.index(added[1])
    assert "setup" in tags(book.cells[place + 2]) and book.cells[place].source.count("\n") < 15
    assert (bundles / stem / f"{stem}.ipynb").stat().st_size < build.ROOM


def test_the_same_bytes_for_the_same_files(bundles: Path, tmp_path: Path) -> None:
    """In a folder of another name, with other times, other permissions and in another process."""
    stem = STEMS[0]
    for name in ("emohelpers", "data_manifests", "notebooks"):
        shutil.copytree(HOME / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for number, path in enumerate(sorted(tmp_path.rglob("*"))):
        path.chmod(0o700)
        os.utime(path, (number, number))
    program = (
        f"import os; os.umask(0o077); from emohelpers.suite import cli; cli.main(['bundle', '{stem}', '--user', 'me'])"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    again = tmp_path / "dist" / "kaggle" / stem
    for path in (bundles / stem).iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_it_imports_where_the_package_is_not_installed(bundles: Path, tmp_path: Path) -> None:
    for name, content in unpacked(loaded(bundles, STEMS[0])).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    code = "\n".join(cell.source for cell in notebooks.load(BOOKS[STEMS[0]].path).cells if cell.cell_type == "code")
    lines = [ast.unparse(node) for node in ast.parse(contents.MAGIC.sub(r"\1pass", code)).body]
    program = "\n".join([line for line in lines if line.startswith("from emohelpers")])
    program += "\nimport emohelpers; print(emohelpers.__path__[0])"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0 and ran.stdout.splitlines()[0] == str(tmp_path / "emohelpers"), ran.stderr


def test_metadata_names_the_card_the_data_and_the_chain(bundles: Path) -> None:
    for stem in STEMS:
        found = json.loads((bundles / stem / "kernel-metadata.json").read_text())
        assert found["machine_shape"] == "NvidiaTeslaT4" and found["enable_gpu"] and found["enable_internet"]
        assert found["id"] == f"me/{found['title'].lower().replace(' ', '-')}"
        assert found["code_file"] == f"{stem}.ipynb"
        assert found["kernel_sources"] == [f"me/{kaggle.slug(need)}" for need in BOOKS[stem].needs]
    first = json.loads((bundles / STEMS[0] / "kernel-metadata.json").read_text())
    assert first["dataset_sources"] == ["manavukani/affectnet"] and first["id"] == "me/emotion-01-baseline-training"


def test_without_internet_weights_and_wheels_are_attached_and_named() -> None:
    book = BOOKS[STEMS[0]]
    content = contents.used(notebooks.load(book.path))
    found = kaggle.kernel(book, content, "me", offline=True)
    assert found["enable_internet"] is False and f"me/{kaggle.WEIGHTS}" in found["dataset_sources"]
    cells = build.bundled(book.path, offline="me").cells
    (parameters,) = [cell for cell in cells if "parameters" in tags(cell)]
    given = notebooks.assigned(parameters.source)["OVERRIDES"]
    assert given == {"weights": f"me/{kaggle.WEIGHTS}/vit_base_patch16_224"}


def test_own_data_and_settings_stand_behind_the_parameters(tmp_path: Path) -> None:
    given = {"DATASET_ROOT": "me/faces", "OVERRIDES.epochs": 3}
    folder = build.write(BOOKS[STEMS[0]], tmp_path, "me", values=given)
    cells = loaded(tmp_path, STEMS[0]).cells
    (place,) = [number for number, cell in enumerate(cells) if "parameters" in tags(cell)]
    assert cells[place + 1].source == "# Parameters\nDATASET_ROOT = 'me/faces'\nEPOCHS = 3"
    assert tags(cells[place + 1]) == ["injected-parameters"]  # papermill puts its own in its place
    values = {"DATASET_ROOT": "me/faces", "EPOCHS": 3}
    assert parameters.beyond(Baseline, ["", cells[place].source, cells[place + 1].source], values) == {"epochs": 3}
    assert json.loads((folder / "kernel-metadata.json").read_text())["dataset_sources"] == ["me/faces"]


def test_wheels_is_offline() -> None:
    options = arguments.parser().parse_args(["bundle", "--wheels", "--param", "SEED=1"])
    assert options.offline is True and options.param == ["SEED=1"]


def test_a_notebook_without_set_up_cell_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "01_a", "from emohelpers.datasets import labels")
    with pytest.raises(NotebookError, match="no cell tagged `setup`"):
        build.bundled(path)
    assert set(contents.used(notebooks.load(path)).files) > {
        "emohelpers/datasets/labels.py",
        "emohelpers/suite/session.py",
    }
    assert "emohelpers/train/loop.py" not in contents.used(notebooks.load(path)).files


# ---------------------------------------------------------------- packages


def test_packages_that_cannot_be_had_stop_the_cell_that_imports_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "HOME", HOME)
    monkeypatch.setattr(contents, "extras", lambda source: {"no_such_module": [f"no-such-thing=={len(source)}"]})
    monkeypatch.setenv("PYTHONPATH", "")
    shell = SimpleNamespace(user_ns={"In": ["", "import x"]})
    with pytest.raises(session.SessionError, match="not installed: no-such-thing==8.*attach the data set of wheels"):
        session.load_ipython_extension(shell)


def test_a_changed_torch_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = iter(["2.10.0", "2.15.0", "2.15.0"])
    monkeypatch.setattr(session.metadata, "version", lambda name: next(versions))
    with pytest.raises(session.SessionError, match=r"torch became 2\.15\.0, was 2\.10\.0"):
        session.install({"no_such_module": ["no-such-thing==1"]}, network=False)


def plain_wheel(folder: Path) -> Path:
    """A wheel of one module, made without any network."""
    import zipfile

    folder.mkdir(parents=True)
    path = folder / "tiny_thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny_thing.py", "VALUE = 3\n")
        wheel.writestr("tiny_thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        wheel.writestr(
            "tiny_thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("tiny_thing-1.0.dist-info/RECORD", "")
    return path


def add_wheels(home: Path, trust: str) -> Path:
    """A data set of one wheel: ours, with a list that fits another file, or with no list."""
    wheel = plain_wheel(home / "input" / "datasets" / "me" / kaggle.WHEELS)
    if trust != "no list":
        supplies.pinned(wheel.parent)
    if trust == "another file":
        wheel.write_bytes(wheel.read_bytes() + b"\0")
    return wheel.parent


@pytest.mark.parametrize("trust", ["no list", "another file"])
def test_nothing_is_installed_from_wheels_that_no_list_names(trust: str, tmp_path: Path) -> None:
    add_wheels(tmp_path, trust)
    ran = install_tiny(tmp_path)
    assert ran.stdout.splitlines()[-1:] == ["['tiny-thing>=1']"] and "No module named" in ran.stderr
    assert ("DO NOT MATCH THE HASHES" in ran.stdout) == (trust == "another file")


def test_the_set_up_cell_installs_a_wheel_by_its_list_alone(tmp_path: Path) -> None:
    """pip's line of that cell; the list says where the wheel lies."""
    for trust in ("ours", "another file"):
        folder = add_wheels(tmp_path / trust.replace(" ", "_"), trust)
        line = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target"]
        ran = subprocess.run([*line, str(tmp_path / trust), "-r", str(folder / session.LIST)], capture_output=True)
        assert (ran.returncode == 0) == (tmp_path / trust / "tiny_thing.py").exists() == (trust == "ours"), ran.stderr


def test_missing_extras_come_from_attached_wheels(tmp_path: Path) -> None:
    add_wheels(tmp_path, "ours")
    ran = install_tiny(tmp_path)
    assert ran.stdout == "[]\n3\n", ran.stderr


def install_tiny(tmp_path: Path) -> subprocess.CompletedProcess:
    program = (
        "from emohelpers.suite import session\n"
        "print(session.install({'tiny_thing': ['tiny-thing>=1']}, network=False))\n"
        "import tiny_thing; print(tiny_thing.VALUE)"
    )
    target = tmp_path / "site"
    environment = os.environ | {
        "EMOHELPERS_INPUTS": str(tmp_path / "input"),
        "PIP_TARGET": str(target),
        "PYTHONPATH": f"{HOME}:{target}",
    }
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)


# ---------------------------------------------------------------- supplies


def test_weights_are_in_the_form_that_timm_reads(tmp_path: Path) -> None:
    import timm

    (place,) = supplies.weights(tmp_path, [f"local-dir:{TRUNKS / 'test_vit'}"])
    assert sorted(p.name for p in place.iterdir()) == ["config.json", "model.safetensors"]
    timm.create_model(f"local-dir:{place}", pretrained=True)
    line = supplies.described(tmp_path, "me", kaggle.WEIGHTS)
    assert line == f"kaggle datasets create -p {tmp_path} --dir-mode zip"
    assert json.loads((tmp_path / "dataset-metadata.json").read_text())["id"] == f"me/{kaggle.WEIGHTS}"


@pytest.mark.slow
def test_wheels_for_kaggle_are_of_its_python(tmp_path: Path) -> None:
    found = supplies.wheels(tmp_path, [one for wanted in contents.EXTRAS.values() for one in wanted])
    names = [path.name for path in found]
    assert any("onnxruntime" in name and "cp312" in name for name in names), names
    assert any(name.startswith("grad_cam") and name.endswith("none-any.whl") for name in names), names


# ---------------------------------------------------------------- Kaggle without Kaggle


@pytest.fixture(scope="session")
def python() -> Path:
    """The Python of an environment with Kaggle's versions and without our package."""
    return mounts.environment()


def on_kaggle(*given, **parameters) -> str:
    """`mounts.run`, where this machine can."""
    try:
        return mounts.run(*given, **parameters)
    except mounts.NoNameSpaces as error:
        pytest.skip(f"no name spaces here: {error}")


@pytest.fixture(scope="session")
def attached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the outputs of bundles that ran, and the wheels that Kaggle lacks."""
    return tmp_path_factory.mktemp("attached")


def done(stem: str, python: Path, attached: Path, bundles: Path) -> Path:
    """`mounts.done`, where this machine can."""
    try:
        return mounts.done(stem, python, attached, bundles)
    except mounts.NoNameSpaces as error:
        pytest.skip(f"no name spaces here: {error}")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stem", STEMS)
def test_a_bundle_runs_alone_with_kaggles_versions(stem: str, python: Path, attached: Path, bundles: Path) -> None:
    home = done(stem, python, attached, bundles)
    receipt = [cell for cell in notebooks.load(home / "kept" / "done.ipynb").cells if notebooks.RECEIPT in tags(cell)]
    source = [cell for cell in notebooks.load(BOOKS[stem].path).cells if notebooks.RECEIPT in tags(cell)]
    told = ["".join(output.text for output in cell.outputs if output.get("name") == "stdout") for cell in receipt]
    assert told == ["".join(output.text for output in cell.outputs) for cell in source]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("layout", ["affectnet", "datasets/manavukani/affectnet"])
def test_full_size_on_an_attached_data_set(layout: str, python: Path, bundles: Path, tmp_path: Path) -> None:
    """PRESET auto: on Kaggle the real data, here drawn faces in AffectNet's place, which is mounted either way."""
    stem, place = STEMS[0], tmp_path / "input" / layout
    place.parent.mkdir(parents=True)
    shutil.copytree(drawn(tmp_path / "cache"), place)
    error = on_kaggle(python, tmp_path, bundles / stem / f"{stem}.ipynb", OVERRIDES=mounts.SMALL[stem])
    assert not error
    found = json.loads((tmp_path / "kept" / "baseline_model" / "metrics.json").read_text())
    assert found["demo"] is False and found["data"].startswith("affectnet")


def mounted(home: Path, stem: str, layout: str, data: Path, python: Path, bundles: Path, **parameters) -> dict:
    """metrics.json of a bundle in full on a data set that is mounted as `layout`."""
    (home / "input" / layout).parent.mkdir(parents=True)
    shutil.copytree(data, home / "input" / layout)
    path = bundles / stem / f"{stem}.ipynb"
    error = on_kaggle(python, home, path, OVERRIDES=mounts.SMALL[stem] | parameters.pop("more", {}), **parameters)
    assert not error
    return mounts.metrics(home)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_full_size_on_attached_songs(python: Path, bundles: Path, tmp_path: Path) -> None:
    """Songs that code plays, in DEAM's place; the ViT's frozen part is kept, as in a full run."""
    data = songs.write_songs(tmp_path / "songs", n=60)
    layout = "datasets/imsparsh/deam-mediaeval-dataset-emotional-analysis-in-music"
    own = {"seconds": 8.0, "mels": 64, "cache": "on", "cache_views": 1}
    found = mounted(tmp_path, "07_deam_gan_vit", layout, data, python, bundles, N_SYNTHETIC=40, more=own)
    assert found["demo"] is False and found["data"].startswith("deam")
    told = (tmp_path / "kept" / "done.ipynb").read_text()
    assert "are kept as" in told and "leaks: 0" in told


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_full_size_on_attached_pairs(python: Path, bundles: Path, tmp_path: Path) -> None:
    """Scenes that code draws, as folders of pairs in a data set of one's own, which DATASET_ROOT names."""
    drawn = photos.write_photos(tmp_path / "photos", scenes=40)
    scored = pd.read_csv(drawn / "photos.csv")
    data = tmp_path / "pairs"
    data.mkdir()
    pairing.from_scores(drawn, scored, data / "training_files", min_gap=0.8)
    found = mounted(tmp_path, "08_emo_aen_ranking", "my-pairs", data, python, bundles, DATASET_ROOT="me/my-pairs")
    assert found["demo"] is False


@pytest.mark.slow
def test_without_its_data_a_bundle_says_what_to_attach(python: Path, bundles: Path, tmp_path: Path) -> None:
    stem = STEMS[0]
    error = on_kaggle(python, tmp_path, bundles / stem / f"{stem}.ipynb", OVERRIDES=mounts.SMALL[stem])
    assert "manavukani/affectnet" in error and "Add Input" in error


def drawn(cache: Path) -> Path:
    """The embedded faces in AffectNet's layout."""
    os.environ["EMOHELPERS_CACHE"] = str(cache)
    try:
        from emohelpers.datasets import faces

        return Path(faces.load("demo_faces").root)
    finally:
        del os.environ["EMOHELPERS_CACHE"]
