"""What papermill hands to a notebook: settings by name, and names that would change nothing."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from emohelpers.config import ConfigError
from emohelpers.config.faces import Baseline
from emohelpers.report import parameters
from emohelpers.suite import execution
from emohelpers.suite.notebooks import METADATA

CELL = 'DATASET_ROOT = ""\nPRESET = "auto"\nSEED = 42\nOVERRIDES = {}'


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ('{"backbone": "resnet50"}', {"backbone": "resnet50"}),
        ("epochs: 3\nimg_size: 96", {"epochs": 3, "img_size": 96}),
        ('{"stages": {"1": {"lr": 1e-3}}}', {"stages": {"1": {"lr": 0.001}}}),
        ("", {}),
        (None, {}),
        ({"epochs": 3}, {"epochs": 3}),
    ],
)
def test_overrides_are_a_mapping_or_its_text(given, right):
    assert parameters.overrides(given) == right


@pytest.mark.parametrize("given", [["epochs"], "epochs", 3, "{a: [", "- a"])
def test_overrides_that_name_no_settings_are_refused(given):
    with pytest.raises(ConfigError, match="OVERRIDES = "):
        parameters.overrides(given)


def test_any_setting_is_taken_in_capitals():
    cells = ["", CELL, '# Parameters\nSEED = 3\nBACKBONE = "resnet50"\nEPOCHS = 2', "run"]
    values = {"SEED": 3, "BACKBONE": "resnet50", "EPOCHS": 2}
    assert parameters.beyond(Baseline, cells, values) == {"backbone": "resnet50", "epochs": 2}
    assert parameters.beyond(Baseline, cells[:2], values) == {}
    assert parameters.beyond(Baseline, ["# Parameters\nX = 1"], {"X": 1}) == {}  # no cell of parameters before it


@pytest.mark.parametrize(("name", "near"), [("BACKBON", "BACKBONE"), ("Seed", "SEED"), ("epochs", "EPOCHS")])
def test_a_name_that_nothing_reads_stops_the_run_and_the_nearest_is_named(name, near):
    with pytest.raises(ConfigError, match=f"{name}: did you mean .*{near}") as refused:
        parameters.beyond(Baseline, [CELL, f"# Parameters\n{name} = 3"], {name: 3})
    assert "DATASET_ROOT, PRESET, SEED, OVERRIDES" in str(refused.value)


def test_through_papermill_and_a_kernel(tmp_path):
    begin = (
        "from emohelpers import report\nfrom emohelpers.config.faces import Baseline\n"
        'run = report.begin("01_x", Baseline, PRESET, OVERRIDES, dataset_root=DATASET_ROOT, seed=SEED)\n'
        'assert (run.cfg.seed, run.cfg.epochs, run.cfg.backbone) == (3, 2, "test_vit"), run.cfg'
    )
    book = new_notebook(cells=[new_code_cell(CELL), new_code_cell("import sys"), new_code_cell(begin)])
    book.metadata.update(METADATA)
    book.cells[0].metadata.tags = ["parameters"]
    source = tmp_path / "01_x.ipynb"
    nbformat.write(book, source)
    environment = {"EMOHELPERS_OUTPUTS": str(tmp_path / "outputs")}
    good = {"SEED": 3, "EPOCHS": 2, "OVERRIDES": '{"backbone": "test_vit", "weights": "random"}'}
    for values, code in ((good, 0), (good | {"BACKBON": "resnet50"}, 1)):
        process = execution.start(source, tmp_path / "out.ipynb", values, tmp_path / "run.log", environment)
        assert (process.wait() != 0) == bool(code), (tmp_path / "run.log").read_text()
    assert "BACKBON: did you mean BACKBONE" in (tmp_path / "run.log").read_text()
