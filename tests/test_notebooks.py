"""The rules that make a notebook readable, open to papermill and checked by nbval, each with a breach it must see."""

import ast
import base64
import io
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
import tiny
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from emohelpers.suite import notebooks
from emohelpers.suite.notebooks import METADATA, RECEIPT, assigned, tags

FOLDER = Path(__file__).parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
ENVIRONMENT = re.compile(
    r"environ|getenv|kaggle|colab|platform|is_available|sys\.modules|host\(|preset|demo|smoke|\b(is_)?test(ing)?\b",
    re.I,
)
PLUMBING = re.compile(r"files\.|paths\.|\|=|to_dict|save_metrics|written|demo=")
MAGIC = re.compile(r"^(\s*)[%!].*$", re.M)

Problems = Iterator[str]
Rule = Callable[[NotebookNode, str], Problems]  # of a notebook and its stem


def code_cells(book: NotebookNode) -> list[tuple[int, NotebookNode]]:
    """Code cells with their position among all cells, from 1."""
    return [(number, cell) for number, cell in enumerate(book.cells, 1) if cell.cell_type == "code"]


def tree(cell: NotebookNode) -> ast.Module:
    """The cell's syntax; lines of IPython magics count as `pass`."""
    return ast.parse(MAGIC.sub(r"\1pass", cell.source))


def bound(node: ast.AST) -> list[str]:
    """Names that one syntax node binds."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        return [node.id]
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.split(".")[0] for alias in node.names]
    return []


def cells_parse(book: NotebookNode, stem: str) -> Problems:
    for number, cell in code_cells(book):
        try:
            tree(cell)
        except SyntaxError as error:
            yield f"cell {number} is not Python: {error}"


def title_names_number_and_table(book: NotebookNode, stem: str) -> Problems:
    first = book.cells[0]
    if first.cell_type != "markdown" or not first.source.startswith(f"# {stem[:2]} "):
        yield f"cell 1 is not markdown that begins with '# {stem[:2]} '"
    columns = [
        line.strip("| ").split("|")[0].strip(" *_`:").lower() for line in first.source.splitlines() if line[:1] == "|"
    ]
    rows = [name for name in columns if name.strip("-")]
    if [name.split()[0] for name in rows] != ["needs", "writes", "minutes"]:
        yield f"cell 1 has no table with the rows needs, writes, minutes on a T4; its rows: {rows}"


def parameters_come_first(book: NotebookNode, stem: str) -> Problems:
    numbers = [number for number, cell in code_cells(book) if "parameters" in tags(cell)]
    first = code_cells(book)[0][0]
    if numbers != [first]:
        yield f"the first code cell (cell {first}) and no other is tagged `parameters`; tagged are {numbers}"


def parameters_are_few_and_plain(book: NotebookNode, stem: str) -> Problems:
    number, cell = code_cells(book)[0]
    names = assigned(cell.source)
    if not all(isinstance(node, ast.Assign | ast.AnnAssign) for node in tree(cell).body):
        yield f"cell {number} does more than assign parameters"
    if wrong := [name for name in names if not name.isupper()]:
        yield f"cell {number}: not in upper case: {wrong}"
    if len(names) > 9:
        yield f"cell {number} has {len(names)} parameters, more than 9: the others belong into OVERRIDES"
    if any(default is ... for default in names.values()):
        yield f"cell {number}: a default is not a literal, papermill cannot tell its type: {names}"
    if names.get("PRESET") != "auto" or not isinstance(names.get("SEED"), int):
        yield f'cell {number} needs PRESET = "auto" and an integer SEED'
    if list(names)[-1:] != ["OVERRIDES"] or names["OVERRIDES"] != {}:
        yield f"cell {number} does not end with OVERRIDES = {{}}"


def parameters_are_read_and_never_rebound(book: NotebookNode, stem: str) -> Problems:
    cells = code_cells(book)
    names = set(assigned(cells[0][1].source))
    nodes = [(number, node) for number, cell in cells[1:] for node in ast.walk(tree(cell))]
    read = {node.id for _, node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    yield from (
        f"parameter {name} is read in no later cell: injecting it would do nothing" for name in sorted(names - read)
    )
    for number, node in nodes:
        yield from (f"cell {number} rebinds parameter {name}" for name in bound(node) if name in names)


def setup_cell_is_second(book: NotebookNode, stem: str) -> Problems:
    numbers = [number for number, cell in code_cells(book) if "setup" in tags(cell)]
    second = code_cells(book)[1][0]
    if numbers != [second]:
        yield f"the second code cell (cell {second}) and no other is tagged `setup`; tagged are {numbers}"


def cells_are_few_and_short(book: NotebookNode, stem: str) -> Problems:
    lines = {number: len(cell.source.splitlines()) for number, cell in code_cells(book)}
    if not 13 <= len(lines) <= 16:
        yield f"{len(lines)} code cells, not 13 to 16"
    if (median := statistics.median(lines.values())) > 3.5:
        yield f"the median code cell has {median:g} lines, more than 3.5"
    if (total := sum(lines.values())) > 75:
        yield f"{total} lines of code, more than 75"
    for number, cell in code_cells(book):
        if lines[number] > 8:
            yield f"cell {number} has {lines[number]} lines, more than 8"
        if any(len(line) > 100 for line in cell.source.splitlines()):
            yield f"cell {number} has a line of more than 100 characters"


def the_package_is_used_by_few_names(book: NotebookNode, stem: str) -> Problems:
    nodes = [node for _, cell in code_cells(book) for node in ast.walk(tree(cell))]
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and "emohelpers" in str(node.module)]
    names = {alias.name for node in imports for alias in node.names}
    if len(names) > 6:
        yield f"{len(names)} names are imported from the package, more than 6: {', '.join(sorted(names))}"


def plumbing_stays_in_the_package(book: NotebookNode, stem: str) -> Problems:
    for number, cell in code_cells(book):
        if pipe := PLUMBING.search(cell.source):
            yield f"cell {number} has {pipe[0]!r}: what is kept, and where, is the run's to know"


def it_says_what_one_learns_and_what_to_try(book: NotebookNode, stem: str) -> Problems:
    if "**You will learn**" not in book.cells[0].source:
        yield "cell 1 does not say what one will learn: **You will learn** ..."
    last = book.cells[-1]
    if last.cell_type != "markdown" or not last.source.startswith("## Try this") or last.source.count("\n- ") != 3:
        yield "the last cell is not '## Try this' with three things to try"


def it_shows_the_expected_result(book: NotebookNode, stem: str) -> Problems:
    """Written by scripts/expected_pictures.py."""
    pictures = book.cells[0].get("attachments", {})
    if list(pictures) != ["expected.jpg"] or "(demo data)](attachment:expected.jpg)" not in book.cells[0].source:
        yield f"cell 1 shows no expected.jpg of a demo run, said to be of demo data; its attachments: {list(pictures)}"
        return
    content = base64.b64decode(pictures["expected.jpg"]["image/jpeg"])
    with Image.open(io.BytesIO(content)) as picture:
        if picture.width != 600 or len(content) > 100_000:
            yield f"the picture of the expected result has {picture.width} pixels and {len(content)} bytes"


def prose_comes_before_code(book: NotebookNode, stem: str) -> Problems:
    for number, _ in code_cells(book):
        before = book.cells[number - 2] if number > 1 else None
        if before is None or before.cell_type != "markdown" or not before.source.strip():
            yield f"cell {number} is code without a markdown cell before it"


def notebooks_tell_and_modules_do(book: NotebookNode, stem: str) -> Problems:
    for number, cell in code_cells(book):
        for node in ast.walk(tree(cell)):
            if isinstance(node, ast.ClassDef):
                yield f"cell {number} defines class {node.name}: it belongs into emohelpers"
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 10:
                yield f"cell {number}: {node.name} has more than 10 lines: it belongs into emohelpers"


def one_path_on_every_machine(book: NotebookNode, stem: str) -> Problems:
    for number, cell in code_cells(book):
        for node in ast.walk(tree(cell)):
            if isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in (
                "os.environ",
                "os.getenv",
                "environ",
            ):
                yield f"cell {number} reads the environment: only emohelpers.paths does"
            if isinstance(node, ast.If | ast.IfExp) and ENVIRONMENT.search(ast.unparse(node.test)):
                yield f"cell {number} branches on where or how it runs: if {ast.unparse(node.test)}"


def metadata_is_complete(book: NotebookNode, stem: str) -> Problems:
    for key, wanted in METADATA.items():
        if book.metadata.get(key) != wanted:
            yield f"metadata {key} is {book.metadata.get(key)}, not {wanted}: papermill needs it to find a kernel"
    if not isinstance(book.metadata.get("emohelpers", {}).get("needs"), list):
        yield 'metadata lacks {"emohelpers": {"needs": [stems]}}'
    try:
        nbformat.validate(book, relax_add_props=False)
    except nbformat.ValidationError as error:
        yield f"not a valid notebook: {error.message}"


def receipts_carry_outputs(book: NotebookNode, stem: str) -> Problems:
    receipts = [(number, cell) for number, cell in code_cells(book) if RECEIPT in tags(cell)]
    if not receipts:
        yield f"no cell is tagged {RECEIPT}: nbval would compare nothing"
    for number, cell in receipts:
        if "keep_output" not in tags(cell):
            yield f"receipt cell {number} lacks the tag keep_output"
        if not cell.outputs or cell.execution_count is None:
            yield f"receipt cell {number} has no stored output or count, nbval would accept anything: make receipts"
        if any(output.output_type == "error" or output.get("name") == "stderr" for output in cell.outputs):
            yield f"receipt cell {number} holds an error or a warning, which differs between machines"


def everything_else_is_stripped(book: NotebookNode, stem: str) -> Problems:
    for number, cell in code_cells(book):
        if RECEIPT not in tags(cell) and (cell.outputs or cell.execution_count is not None):
            yield f"cell {number} holds an output or a count and is no receipt: make receipts"
        if "NBVAL_" in cell.source:
            yield f"cell {number} marks itself in its source: use the tags keep_output and {RECEIPT}"
    if "widgets" in book.metadata:
        yield "the metadata holds widget state"


RULES: list[Rule] = [
    cells_parse,
    title_names_number_and_table,
    parameters_come_first,
    parameters_are_few_and_plain,
    parameters_are_read_and_never_rebound,
    setup_cell_is_second,
    cells_are_few_and_short,
    the_package_is_used_by_few_names,
    plumbing_stays_in_the_package,
    it_says_what_one_learns_and_what_to_try,
    it_shows_the_expected_result,
    prose_comes_before_code,
    notebooks_tell_and_modules_do,
    one_path_on_every_machine,
    metadata_is_complete,
    receipts_carry_outputs,
    everything_else_is_stripped,
]


def name(thing: Path | Rule) -> str:
    return thing.stem if isinstance(thing, Path) else thing.__name__


@pytest.mark.parametrize("path", PATHS, ids=name)
@pytest.mark.parametrize("rule", RULES, ids=name)
def test_notebook(rule: Rule, path: Path) -> None:
    problems = list(rule(notebooks.load(path), path.stem))
    assert not problems, f"{path.name}:\n  " + "\n  ".join(problems)


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_notebook_is_kept_in_the_one_form(path: Path) -> None:
    assert notebooks.is_canonical(path), f"{path.name} differs from its stripped form: make receipts NB={path.stem[:2]}"


def test_there_are_notebooks() -> None:
    assert PATHS, f"no notebooks in {FOLDER}: the tests above checked nothing"


def test_numbers_are_unique() -> None:
    numbers = [path.stem.split("_")[0] for path in PATHS]
    assert len(set(numbers)) == len(numbers) and all(re.fullmatch(r"\d\d", number) for number in numbers), numbers


def test_needs_exist_and_end() -> None:
    books = notebooks.find(FOLDER)
    assert set(notebooks.order(books, books)) == set(books)


def setups(books: dict[str, NotebookNode]) -> dict[str, list[str]]:
    """Source of the set-up cell -> stems that have it."""
    found: dict[str, list[str]] = {}
    for stem, book in books.items():
        for _, cell in code_cells(book):
            if "setup" in tags(cell):
                found.setdefault(cell.source, []).append(stem)
    return found


def test_setup_cells_are_identical() -> None:
    found = setups({path.stem: notebooks.load(path) for path in PATHS})
    assert len(found) == 1, f"{len(found)} different set-up cells: {list(found.values())}"


# A notebook that keeps every rule, and one breach a rule: without them a rule could pass because it sees nothing.


def jpeg(width: int) -> str:
    """A grey picture as an attachment's base64 text."""
    buffer = io.BytesIO()
    Image.new("L", (width, 40)).save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()


def good() -> NotebookNode:
    cells = [
        new_markdown_cell(
            "# 01 Title\n\n**You will learn** it.\n\n"
            "| | |\n|---|---|\n| **needs** | a |\n| **writes** | b |\n| **minutes on a T4** | 1 |\n\n"
            "![A result (demo data)](attachment:expected.jpg)",
            attachments={"expected.jpg": {"image/jpeg": jpeg(600)}},
        )
    ]
    sources = ['DATA = ""\nPRESET = "auto"\nSEED = 1\nOVERRIDES = {}', "import emohelpers\n%pip list"]
    sources += ["cfg = dict(a=DATA, b=PRESET, c=SEED, **OVERRIDES)", *["cfg"] * 9, 'print("leak = 0")']
    for source in sources:
        cells += [new_markdown_cell("What comes now."), new_code_cell(source)]
    cells[2].metadata.tags, cells[4].metadata.tags = ["parameters"], ["setup"]
    cells[-1].metadata.tags = ["keep_output", RECEIPT]
    cells[-1].outputs, cells[-1].execution_count = [new_output("stream", name="stdout", text="leak = 0\n")], 13
    cells.append(new_markdown_cell("## Try this\n\n- a\n- b\n- c"))
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return new_notebook(cells=cells, metadata={**METADATA, "emohelpers": {"needs": []}})


def edit(number: int, **changes: object) -> Callable[[NotebookNode], object]:
    """A breach: other content for one cell (counted from 0)."""
    return lambda book: book.cells[number].update(changes)


PARAMETERS, SETUP, CODE, LAST = 2, 4, 8, 26
BREACHES: list[tuple[Rule, Callable[[NotebookNode], object]]] = [
    (cells_parse, edit(CODE, source="a b")),
    (title_names_number_and_table, edit(0, source="# 02 Title")),
    (title_names_number_and_table, edit(0, source="# 01 Title\n| needs | a |\n|---|---|\n| writes | b |")),
    (it_shows_the_expected_result, edit(0, attachments={})),
    (it_shows_the_expected_result, edit(0, attachments={"expected.jpg": {"image/jpeg": jpeg(900)}})),
    (parameters_come_first, lambda book: book.cells[PARAMETERS].metadata.update(tags=[])),
    (parameters_come_first, lambda book: book.cells[CODE].metadata.update(tags=["parameters"])),
    (parameters_are_few_and_plain, edit(PARAMETERS, source='PRESET = "auto"\nSEED = 1')),
    (parameters_are_few_and_plain, edit(PARAMETERS, source='PRESET = "demo"\nSEED = 1\nOVERRIDES = {}')),
    (parameters_are_few_and_plain, edit(PARAMETERS, source='PRESET = "auto"\nSEED = 1\nprint()\nOVERRIDES = {}')),
    (parameters_are_few_and_plain, edit(PARAMETERS, source='PRESET = "auto"\nSEED = 1\nlow = 1\nOVERRIDES = {}')),
    (parameters_are_few_and_plain, edit(PARAMETERS, source='PRESET = "auto"\nSEED = 1\nA = len("x")\nOVERRIDES = {}')),
    (
        parameters_are_few_and_plain,
        edit(
            PARAMETERS,
            source="\n".join([*map("A{} = 1".format, range(7)), 'PRESET = "auto"', "SEED = 1", "OVERRIDES = {}"]),
        ),
    ),
    (parameters_are_read_and_never_rebound, edit(6, source="cfg = dict(a=DATA, b=PRESET, c=SEED)")),
    (parameters_are_read_and_never_rebound, edit(CODE, source="SEED = SEED + 1")),
    (parameters_are_read_and_never_rebound, edit(CODE, source="for SEED in (1, 2):\n    pass")),
    (parameters_are_read_and_never_rebound, edit(CODE, source="from module import something as DATA")),
    (setup_cell_is_second, lambda book: book.cells[SETUP].metadata.update(tags=[])),
    (cells_are_few_and_short, lambda book: book.cells.__delitem__(slice(5, 9))),
    (cells_are_few_and_short, lambda book: book.cells.extend([new_markdown_cell("a"), new_code_cell("a")] * 6)),
    (cells_are_few_and_short, edit(CODE, source="a\n" * 9)),
    (cells_are_few_and_short, lambda book: [cell.update(source="a\n" * 6) for _, cell in code_cells(book)[2:]]),
    (cells_are_few_and_short, edit(CODE, source="a = " + "1" * 97)),
    (the_package_is_used_by_few_names, edit(CODE, source="from emohelpers import a, b, c, d, e, f, g")),
    (plumbing_stays_in_the_package, edit(CODE, source="files.write_csv(table, run)")),
    (plumbing_stays_in_the_package, edit(CODE, source="bars(counts, demo=True)")),
    (it_says_what_one_learns_and_what_to_try, lambda book: book.cells.pop()),
    (it_says_what_one_learns_and_what_to_try, edit(0, source="# 01 Title")),
    (prose_comes_before_code, lambda book: book.cells.pop(CODE - 1)),
    (prose_comes_before_code, edit(CODE - 1, source=" ")),
    (notebooks_tell_and_modules_do, edit(CODE, source="class Net:\n    pass")),
    (notebooks_tell_and_modules_do, edit(CODE, source="def f():\n" + "    a\n" * 10)),
    (one_path_on_every_machine, edit(CODE, source='import os\nos.environ["A"] = "1"')),
    (one_path_on_every_machine, edit(CODE, source='if PRESET == "demo":\n    a = 1')),
    (one_path_on_every_machine, edit(CODE, source="device = 1 if torch.cuda.is_available() else 0")),
    (metadata_is_complete, lambda book: book.metadata.pop("kernelspec")),
    (metadata_is_complete, lambda book: book.metadata.language_info.update(version="3.12.1")),
    (metadata_is_complete, lambda book: book.metadata.pop("emohelpers")),
    (receipts_carry_outputs, lambda book: book.cells[LAST].metadata.update(tags=[])),
    (receipts_carry_outputs, lambda book: book.cells[LAST].metadata.update(tags=[RECEIPT])),
    (receipts_carry_outputs, edit(LAST, outputs=[])),
    (receipts_carry_outputs, edit(LAST, execution_count=None)),
    (receipts_carry_outputs, edit(LAST, outputs=[new_output("stream", name="stderr", text="UserWarning")])),
    (everything_else_is_stripped, edit(CODE, execution_count=3)),
    (everything_else_is_stripped, edit(CODE, outputs=[new_output("stream", text="a")])),
    (everything_else_is_stripped, edit(CODE, source="# NBVAL_CHECK_OUTPUT\na")),
    (everything_else_is_stripped, lambda book: book.metadata.update(widgets={})),
]


@pytest.mark.parametrize("rule", RULES, ids=name)
def test_rule_accepts_a_good_notebook(rule: Rule) -> None:
    assert not list(rule(good(), "01_title"))
    assert rule in [broken for broken, _ in BREACHES], "no breach proves that this rule sees anything"


@pytest.mark.parametrize("number", range(len(BREACHES)), ids=lambda number: f"{number}-{name(BREACHES[number][0])}")
def test_rule_refuses_a_breach(number: int) -> None:
    rule, breach = BREACHES[number]
    book = nbformat.from_dict(good())
    breach(book)
    assert list(rule(book, "01_title")), f"{name(rule)} did not notice the breach"


def test_a_changed_setup_cell_is_seen() -> None:
    other = good()
    other.cells[SETUP].source += " "
    assert len(setups({"01_a": good(), "02_b": good()})) == 1
    assert len(setups({"01_a": good(), "02_b": other})) == 2


def test_the_one_form_drops_all_but_sources_and_receipts() -> None:
    used = good()
    used.cells[CODE].update(outputs=[new_output("stream", text="a")], execution_count=4)
    used.cells[CODE].metadata.update(collapsed=True, papermill={"duration": 1.2})
    used.metadata.update(widgets={}, papermill={})
    used.metadata.language_info.update(version="3.12.1")
    assert notebooks.canonical(used) == notebooks.canonical(good())
    kept = nbformat.reads(notebooks.canonical(used), as_version=4)
    assert kept.cells[LAST].outputs == good().cells[LAST].outputs and kept.cells[LAST].execution_count == 13
    assert notebooks.canonical(kept) == notebooks.canonical(used)


def test_receipts_come_from_the_executed_notebook() -> None:
    ran = good()
    ran.cells[LAST].update(outputs=[new_output("stream", name="stdout", text="leak = 1\n")], execution_count=14)
    kept = nbformat.reads(notebooks.canonical(good(), ran), as_version=4)
    assert kept.cells[LAST].outputs[0].text == "leak = 1\n" and kept.cells[LAST].execution_count == 14
    ran.cells[CODE].source = "other"
    with pytest.raises(notebooks.NotebookError, match="other cells"):
        notebooks.canonical(good(), ran)


def test_notebooks_alone_are_tested_in_a_fresh_folder_too(tmp_path):
    """What lies in outputs/ would be gone on from, and a notebook that cannot train any more would pass."""
    told = "import os\n\ndef pytest_collection_finish(session):\n    print('to', os.environ['EMOHELPERS_OUTPUTS'])"
    (tmp_path / "told.py").write_text(told)
    command = [sys.executable, "-m", "pytest", "notebooks", "--collect-only", "-q", "-s", "-p", "told"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "EMOHELPERS_OUTPUTS": "outputs"}
    ran = subprocess.run(command, cwd=FOLDER.parent, env=environment, capture_output=True, text=True)
    assert re.search(r"to .*emohelpers-tests-", ran.stdout), ran.stdout + ran.stderr


def test_pytest_runs_first_what_a_notebook_needs(tmp_path: Path) -> None:
    keep = "import os\nfrom pathlib import Path\nkept = Path(os.environ['EMOHELPERS_OUTPUTS'])"
    first = f"{keep}\nwith (kept / 'count.txt').open('a') as file:\n    print('first', file=file)"
    second = f"{keep}\nprint((kept / 'count.txt').read_text())"
    tiny.write(tmp_path, "01_first", first)
    for stem in ("02_second", "03_third"):
        path = tiny.write(tmp_path, stem, second, needs=("01_first",), receipt=True)
        book = nbformat.read(path, as_version=4)
        book.cells[-1].outputs = [new_output("stream", name="stdout", text="first\n\n")]
        book.cells[-1].execution_count = 2
        nbformat.write(book, path)
    shutil.copy(FOLDER.parent / "conftest.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env"]
    books = [f"notebooks/{stem}.ipynb" for stem in ("03_third", "02_second")]
    told = subprocess.run([*command, *books], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 0 and "4 passed" in told.stdout, told.stdout + told.stderr
