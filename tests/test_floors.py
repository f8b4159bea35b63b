"""Imports go down only: a module uses its own floor and those below, never in a circle, and torch begins on floor 1."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
PACKAGE = HOME / "emohelpers"
FLOORS = {  # a new module, or room of modules, is placed here and in the picture of the README's "How it is built"
    0: "labels paths files config recipes store splits targets demo notebooks provenance defects "
    "manifests combine songs pairs",
    1: "devices images models metrics faces trunk audio",
    2: "objectives distillation train experiment preflight frozen saga music ranking",
    3: "style figures diagnostics interactive report results headless cli __main__ explain export quantise publish "
    "predict song_figures song_report appeal runs page bundle session",
}
FLOOR = {module: floor for floor, modules in FLOORS.items() for module in modules.split()}
TORCH = ("torch", "torchvision", "torchaudio", "timm", "accelerate", "kornia", "torchmetrics", "transformers")
DRAWERS = ("utils", "util", "common", "helpers", "misc", "core", "base", "tools")


def modules(package: Path) -> dict[str, list[Path]]:
    """Each module of the package, or folder of modules, with its files."""
    found: dict[str, list[Path]] = {}
    for path in sorted(package.rglob("*.py")):
        found.setdefault(path.relative_to(package).parts[0].removesuffix(".py"), []).append(path)
    return found


def imported(path: Path) -> set[str]:
    """Every dotted name that a file imports, at its top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
            assert node.level == 0, f"{path.name}, line {node.lineno}: write the whole name, from {PACKAGE.name}..."
    return names


def ours(files: list[Path]) -> set[str]:
    """Modules of the package that these files import."""
    dotted = [name.split(".") for path in files for name in imported(path)]
    return {parts[1] for parts in dotted if parts[0] == PACKAGE.name and len(parts) > 1 and "__" not in parts[1]}


def breaches(package: Path) -> list[str]:
    """What a package's imports do wrong."""
    files = modules(package)
    homeless = [name for name in files if name not in FLOOR and name != "__init__"]
    wrong = [f"{name}: give it a floor in tests/test_floors.py" for name in homeless]
    wrong += [f"{name}: is a drawer, not a noun of the field" for name in files if name in DRAWERS]
    graph = {name: ours(paths) - {name} for name, paths in files.items()}
    for name, uses in graph.items():
        # __init__ imports nothing of ours, so that `import emohelpers` stays light.
        floor = -1 if name == "__init__" else FLOOR.get(name, len(FLOORS))
        above = [use for use in sorted(uses) if FLOOR.get(use, floor) > floor]
        wrong += [f"{name} (floor {floor}) imports {use} (floor {FLOOR[use]})" for use in above]
        if floor <= 0:
            heavy = {dotted.split(".")[0] for path in files[name] for dotted in imported(path)} & set(TORCH)
            wrong += [f"{name} (floor 0) imports {part}" for part in sorted(heavy)]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        wrong.append("a circle: " + " <- ".join(error.args[1]))
    return wrong


def test_imports_go_down_only() -> None:
    assert not breaches(PACKAGE)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"newcomer.py": ""}, "newcomer: give it a floor"),
        ({"utils.py": ""}, "utils: is a drawer"),
        ({"labels.py": "from emohelpers import models", "models.py": ""}, "labels (floor 0) imports models (floor 1)"),
        (
            {"images.py": "def f():\n    import emohelpers.train", "train.py": ""},
            "images (floor 1) imports train (floor 2)",
        ),
        ({"config.py": "from emohelpers.cli import main", "cli.py": ""}, "config (floor 0) imports cli (floor 3)"),
        ({"__init__.py": "from emohelpers import labels", "labels.py": ""}, "__init__ (floor -1) imports labels"),
        ({"demo/faces.py": "import torch.nn as nn"}, "demo (floor 0) imports torch"),
        ({"store.py": "from timm.data import Mixup"}, "store (floor 0) imports timm"),
        ({"labels.py": "from emohelpers import paths", "paths.py": "import emohelpers.labels"}, "a circle: "),
    ],
)
def test_a_breach_is_seen(tmp_path: Path, content: dict[str, str], message: str) -> None:
    for name, text in content.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert any(message in line for line in breaches(tmp_path)), breaches(tmp_path)


def test_importing_floor_0_leaves_torch_out() -> None:
    names = []
    for module, paths in modules(PACKAGE).items():
        if FLOOR.get(module) == 0:
            names += [
                ".".join(path.relative_to(HOME).with_suffix("").parts).removesuffix(".__init__") for path in paths
            ]
    program = f"import sys, {', '.join(names)}\nprint([m for m in {TORCH!r} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], cwd=HOME, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[]", f"importing floor 0 also imports {ran.stdout}"


def machine(path: Path) -> list[str]:
    """Lines of a file that read the environment or name a folder of Kaggle or Colab."""
    wrong = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv"):
            wrong.append(f"{path.name}, line {node.lineno}: reads the environment")
        if isinstance(node, ast.Constant) and re.match(r"/(kaggle|content)\b", str(node.value)):
            wrong.append(f"{path.name}, line {node.lineno}: knows {node.value}")
    return wrong


def test_only_paths_knows_the_machine() -> None:
    knowing = ("paths", "__init__")  # the door sets what PyTorch must find before anything imports it
    others = {name: files for name, files in modules(PACKAGE).items() if name not in knowing}
    starters = ("cli", "execution")  # hand the environment on to the processes that they start
    files = [path for found in others.values() for path in found if path.stem not in starters]
    wrong = [line for path in files for line in machine(path)]
    assert not wrong, "only emohelpers/paths.py does this:\n" + "\n".join(wrong)
    assert machine(PACKAGE / "paths.py"), "the check above sees nothing"
