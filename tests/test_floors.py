"""The rooms of the house: imports go down only, and inside a floor not sideways; torch begins above floor 0."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
PACKAGE = HOME / "emohelpers"
FLOORS = (  # from the ground up, as in the picture of README's "How it is built"; a new file belongs to a room
    ("config",),
    ("datasets",),
    ("images", "metrics"),
    ("models",),
    ("train",),
    ("report",),
    ("export",),
    ("saga", "music", "ranking", "explain"),
    ("suite",),  # beside the house: runs the notebooks, and no room knows it
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_TORCH = ("config", "datasets")
TORCH = ("torch", "torchvision", "torchaudio", "timm", "accelerate", "kornia", "torchmetrics", "transformers")
DRAWERS = ("utils", "util", "common", "helpers", "misc", "core", "base", "tools")


def room_of(path: Path, package: Path) -> str:
    """The room that a file of the package lies in, "__init__" for the door."""
    return path.relative_to(package).parts[0].removesuffix(".py")


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


def breaches(package: Path) -> list[str]:
    """What a package's files and imports do wrong."""
    wrong = []
    for path in sorted(package.rglob("*.py")):
        room, name = room_of(path, package), path.relative_to(package).as_posix()
        if room not in FLOOR and room != "__init__":
            wrong.append(f"{name}: {room} is no room of the house")
            continue
        if set(path.relative_to(package).with_suffix("").parts) & set(DRAWERS):
            wrong.append(f"{name}: is a drawer, not a noun of the field")
        floor = FLOOR.get(room, -1)  # the door imports nothing of ours, so that `import emohelpers` stays light
        for dotted in sorted(imported(path)):
            first, _, rest = dotted.partition(".")
            used = rest.partition(".")[0]
            if first == PACKAGE.name and used in FLOOR and used != room and FLOOR[used] >= floor:
                side = "beside it" if FLOOR[used] == floor else "above it"
                wrong.append(f"{name} imports {dotted}, which is {side}")
            if room in WITHOUT_TORCH and first in TORCH:
                wrong.append(f"{name} ({room} is read without torch) imports {first}")
    return wrong


def test_imports_go_down_only() -> None:
    assert not breaches(PACKAGE)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"newcomer.py": ""}, "newcomer is no room of the house"),
        ({"train/utils.py": ""}, "train/utils.py: is a drawer"),
        (
            {"images/batches.py": "from emohelpers import models"},
            "images/batches.py imports emohelpers.models, which is above",
        ),
        ({"images/votes.py": "def f():\n    import emohelpers.train"}, "imports emohelpers.train, which is above"),
        ({"images/votes.py": "from emohelpers.metrics import compare"}, "emohelpers.metrics.compare, which is beside"),
        ({"export/hub.py": "from emohelpers.suite.cli import main"}, "emohelpers.suite.cli.main, which is above"),
        ({"__init__.py": "from emohelpers.datasets import labels"}, "__init__.py imports emohelpers.datasets.labels"),
        ({"datasets/drawn/faces.py": "import torch.nn as nn"}, "read without torch) imports torch"),
        ({"config/paths.py": "from timm.data import Mixup"}, "read without torch) imports timm"),
    ],
)
def test_a_breach_is_seen(tmp_path: Path, content: dict[str, str], message: str) -> None:
    for name, text in content.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    assert any(message in line for line in breaches(tmp_path)), breaches(tmp_path)


def test_doors_only_hand_on() -> None:
    """An __init__ has a docstring and imports; what it does lies in a file of its own."""
    allowed = (ast.Import, ast.ImportFrom, ast.Assign)
    for path in PACKAGE.rglob("*/__init__.py"):
        docstring, *lines = ast.parse(path.read_text(encoding="utf-8")).body
        assert isinstance(docstring, ast.Expr), f"{path}: say in a sentence what the room is"
        assert all(isinstance(line, allowed) for line in lines), f"{path} holds code"


def test_the_ground_floor_leaves_torch_out() -> None:
    names = []
    for room in WITHOUT_TORCH:
        for path in sorted((PACKAGE / room).rglob("*.py")):
            names.append(".".join(path.relative_to(HOME).with_suffix("").parts).removesuffix(".__init__"))
    program = f"import sys, {', '.join(names)}\nprint([m for m in {TORCH!r} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], cwd=HOME, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[]", f"importing the ground floor also imports {ran.stdout}"


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
    knows = PACKAGE / "config" / "paths.py"
    # The door sets what PyTorch must find before anything imports it; starters hand the environment on to processes.
    starters = [PACKAGE / "suite" / f"{name}.py" for name in ("cluster", "commands", "execution")]
    others = (PACKAGE / "__init__.py", *starters)
    files = [path for path in PACKAGE.rglob("*.py") if path not in (knows, *others)]
    wrong = [line for path in files for line in machine(path)]
    assert not wrong, "only emohelpers/config/paths.py does this:\n" + "\n".join(wrong)
    assert machine(knows), "the check above sees nothing"
