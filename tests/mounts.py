"""Kaggle without Kaggle: an environment with its versions and without our package, its mounts, and no network."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from emohelpers.suite import execution, notebooks
from emohelpers.suite.bundle import contents, kaggle, supplies

HOME = Path(__file__).parents[1]
BOOKS = notebooks.find(HOME / "notebooks")
VERSIONS = os.environ.get("VERSIONS") or "kaggle"  # or "colab": make test-full VERSIONS=colab
PINS = HOME / "tests" / f"{VERSIONS}.txt"
SMALL = {  # notebook -> settings with which the full preset ends in minutes on two cores; the data are as they are
    "01_baseline_training": {
        "backbone": "test_vit", "weights": "demo", "img_size": 96, "head_width": 32, "epochs": 1, "bootstrap": 200,
    },
    "02_saga_combine_labels": {"gates_off": ["clip"], "p_target": 0.02, "total_cap": 0.1},
    "03_augmented_training": {
        "backbone": "test_vit", "weights": "demo", "img_size": 96, "head_width": 32, "epochs": 1, "seeds": [42],
        "bootstrap": 200,
    },
    "04_transfer_learning": {
        "backbone": "test_vit", "weights": "demo", "img_size": 96, "head_width": 32, "epochs": 2,
        "unfreeze": {"1": "all"}, "warmup_epochs": 0.5, "int8_pictures": 32, "bootstrap": 200,
    },
    "05_enhanced_cnn": {
        "backbone": "test_byobnet", "weights": "demo", "img_size": 96, "head_width": 32, "epochs": 2,
        "unfreeze": {"1": "all"}, "strength": {"0": 0.5}, "batch_size": 64, "int8_pictures": 32, "bootstrap": 200,
    },
    "06_explainability": {
        "img_size": 96, "probe_each": 1, "faces_each": 2, "choice_each": 2, "check_each": 1, "background": 16,
        "shap_samples": 16, "lime_samples": 32, "lime_segments": 20, "steps": 4, "controls": 1, "random_weights": 1,
        "batch_size": 64, "bootstrap": 200,
    },
    "07_deam_gan_vit": {
        "backbone": "test_vit", "weights": "demo", "img_size": 96, "trainable": 0, "unfreeze": {"1": 1}, "epochs": 2,
        "ast_shape": [64, 96], "ast_width": 48, "ast_epochs": 1, "gan_shape": [64, 32], "gan_width": 8, "gan_epochs": 3,
        "bootstrap": 200,
    },
    "08_emo_aen_ranking": {
        "backbone": "test_efficientnet", "weights": "random", "img_size": 80, "epochs": 2, "int8_tries": 1,
        "timing_rounds": 5, "shortcut_epochs": 1, "min_side": 64, "bootstrap": 200,
    },
}  # fmt: skip

# Inside: no network but the loopback that Jupyter talks over, inputs read-only, a working folder of limited size; and
# a root of its own, in which the inputs are /kaggle/input: that is where a source notebook looks for the package.
KAGGLE = """
set -e
mount --bind -o ro {home}/input {home}/input && mount -o remount,bind,ro {home}/input
mount -t tmpfs -o size=2500m none {home}/working
mkdir -p {home}/root && mount -t tmpfs none {home}/root
for top in /*; do
  if [ -L $top ]; then cp -d $top {home}/root/
  elif [ -d $top ]; then mkdir {home}/root$top && mount --rbind $top {home}/root$top
  fi
done
mkdir -p {home}/root/kaggle/input && mount --rbind {home}/input {home}/root/kaggle/input
ip link set lo up 2>/dev/null || {python} -c "
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 1))"
code=0
chroot {home}/root bash -c 'cd {home}/working; {before} exec {python} -c "$CHILD" "$JOB"' > {home}/log 2>&1 || code=$?
cp -a {home}/working/. {home}/kept
exit $code
"""
ALONE = ["unshare", "--user", "--map-root-user", "--mount", "--net"]


class NoNameSpaces(RuntimeError):
    """This machine does not let a user make them; with its words."""


def environment() -> Path:
    """The Python of the environment; 8 GB, built once."""
    place = HOME / "build" / f"{VERSIONS}-{hashlib.sha256(PINS.read_bytes()).hexdigest()[:8]}"
    python = place / "bin" / "python"
    if not (place / ".ready").exists():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(PINS)], check=True)
        (place / ".ready").touch()
    assert subprocess.run([str(python), "-c", "import emohelpers"], cwd="/", env={}, capture_output=True).returncode
    return python


def attach(stem: str, home: Path, left: dict[str, Path], wheels: Path) -> None:
    """Puts below `home`/input what its user adds: the outputs of the notebooks that `stem` needs, and missing wheels.

    The outputs, stem -> folder, are mounted in the old way and in the new one in turn. `wheels` is filled once.
    """
    for number, need in enumerate(BOOKS[stem].needs):
        layout = f"notebooks/me/{kaggle.slug(need)}" if number % 2 else kaggle.slug(need)
        shutil.copytree(left[need], home / "input" / layout)
    if not set(contents.used(notebooks.load(BOOKS[stem].path)).extras) & set(contents.EXTRAS):
        return
    if not wheels.exists():
        wanted = [one for each in contents.EXTRAS.values() for one in each]
        supplies.wheels(wheels, wanted, [f"{sys.version_info.major}.{sys.version_info.minor}"])
    shutil.copytree(wheels, home / "input" / "datasets" / "me" / kaggle.WHEELS)


def run(python: Path, home: Path, path: Path, before: str = "", **parameters) -> str:
    """Runs one notebook as Kaggle would; returns its error, "" for none. `home` has input/, and gets kept/.

    `before` is shell that is run first, inside; what pip installs inside goes to `home`/site.
    """
    for name in ("input", "working", "kept", "scratch", "site"):
        (home / name).mkdir(parents=True, exist_ok=True)
    target = home / "working" / "done.ipynb"
    job = {"input_path": str(path), "output_path": str(target), "parameters": parameters}
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "OMP_NUM_THREADS") if name in os.environ}
    environment |= {
        "KAGGLE_KERNEL_RUN_TYPE": "Batch",
        "EMOHELPERS_INPUTS": str(home / "input"),
        "CHILD": execution.CHILD,
    }
    environment |= {"EMOHELPERS_OUTPUTS": str(home / "working"), "EMOHELPERS_CACHE": str(home / "scratch")}
    environment |= {"JOB": json.dumps(job), "JUPYTER_PREFER_ENV_PATH": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    environment |= {"PIP_TARGET": str(home / "site"), "PYTHONPATH": str(home / "site")}
    inside = ["bash", "-c", KAGGLE.format(home=home, python=python, before=before)]
    ran = subprocess.run([*ALONE, *inside], env=environment, capture_output=True, text=True)
    if not (home / "log").exists():
        raise NoNameSpaces(ran.stderr)
    (home / "log").rename(home / "run.log")
    return execution.outcome(home / "kept" / "done.ipynb", home / "run.log", ran.returncode)


def done(stem: str, python: Path, attached: Path, bundles: Path) -> Path:
    """What the bundle of a notebook left, run alone on the embedded data with its predecessors' outputs attached.

    `bundles` holds <stem>/<stem>.ipynb; `attached` gets a folder a notebook, and keeps it for those that need it.
    """
    home = attached / stem
    if not (home / "kept" / "done.ipynb").exists():
        left = {need: done(need, python, attached, bundles) / "kept" for need in BOOKS[stem].needs}
        attach(stem, home, left, attached / "wheels")
        path = home / "alone" / f"{stem}.ipynb"
        path.parent.mkdir(parents=True)
        shutil.copy(bundles / stem / f"{stem}.ipynb", path)
        error = run(python, home, path, PRESET="demo")
        assert not error, f"{stem}: {error}"
    return home


def metrics(home: Path) -> dict:
    """metrics.json of the notebook that ran in `home`; the folder for the hub holds a copy of it."""
    return json.loads(min((home / "kept").rglob("metrics.json"), key=lambda path: len(path.parts)).read_text())
