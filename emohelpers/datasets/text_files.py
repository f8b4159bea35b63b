"""Files of text that people hand in: tables, JSON, YAML. A table's values are strings, every fault has its line."""

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pandas import DataFrame, Series

from emohelpers.datasets.locate import ManifestError, fold

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
OTHERS = {  # first bytes of what is often taken for a table
    b"PK\x03\x04": "an Excel workbook (or a zip): open it and save it as 'CSV UTF-8'",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: open it and save it as 'CSV UTF-8'",
    b"\x1f\x8b": "packed by gzip: unpack it",
    b"version https://git-lfs": "a pointer of Git LFS in place of the file: run git lfs pull",
    b"PAR1": "a parquet file: make picture files of it and a CSV of path,label",
    b"<": "a web page: download the file itself",
}
NO_TEXT = re.compile("[\0\udc80-\udcff]")  # zero bytes, and what is not of the file's encoding
SEPARATORS = ",;\t|"
SAMPLE = 20  # lines from which the separator is taken
FIELD = 1 << 24  # characters of a field at most: the pixels of a large picture have some hundred thousand
SETTINGS = 1 << 20  # bytes of a YAML at most


def encoding(path: str | Path) -> str:
    """What the first bytes of a file say of its encoding, UTF-8 where they say nothing; refuses what is no text."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ManifestError(f"{path} is no file")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror})") from error
    for first, kind in OTHERS.items():
        if start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(first):
            raise ManifestError(f"{path} is {kind}")
    return next((name for mark, name in MARKS.items() if start.startswith(mark)), "utf-8")


def lines(path: str | Path) -> Iterator[str]:
    """The lines of a file of text, whatever ends them; raises `ManifestError` at bytes that are no text."""
    name = encoding(path)
    try:
        with Path(path).open(encoding=name, errors="surrogateescape") as file:
            for number, line in enumerate(file, 1):
                if (not line.isascii() or "\0" in line) and (wrong := NO_TEXT.search(line)):
                    byte = ord(wrong[0]) & 0xFF
                    windows = bytes([byte]).decode("cp1252", "replace")
                    origin = f"{windows!r} of older Windows programs" if byte else "of a damaged file, or of UTF-16"
                    raise ManifestError(
                        f"{path} is not UTF-8 (line {number}: byte 0x{byte:02x}, {origin}): "
                        "save it as UTF-8, in Excel as 'CSV UTF-8'"
                    )
                yield line.lstrip("\ufeff") if number == 1 else line  # a second mark, of two programs
    except UnicodeError as error:
        raise ManifestError(f"{path} is cut off or damaged: {error}") from error


def read_json(path: str | Path) -> Any:
    """The content of a JSON file; raises `ManifestError` where it is none, or a key stands there twice."""
    text = "".join(lines(path))
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path} is not JSON: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, count in Counter(name for name, _ in pairs).most_common(1):
        if count > 1:
            raise ValueError(f"the key {name!r} stands there twice")
    return dict(pairs)


class _Plain(yaml.SafeLoader):
    """YAML without references (some lines of them stand for gigabytes) and without a key that stands there twice."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="a reference (*name) is not allowed: write it out", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        keys = set()
        for key_node, _ in node.value:
            key = (key_node.tag, str(key_node.value))
            if key in keys:
                problem = f"the key {key_node.value!r} stands there twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            keys.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> Any:
    """The content of a small YAML file; raises `ManifestError` where it is none, with the line."""
    if Path(path).is_file() and Path(path).stat().st_size > SETTINGS:
        raise ManifestError(f"{path} is larger than {SETTINGS:,} bytes: a YAML of settings has some thousand")
    text = "".join(lines(path))
    try:
        return yaml.load(text, _Plain)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ManifestError(f"{path} is not a YAML file that can be used: {error}") from error


def read_csv(path: str | Path) -> DataFrame:
    """A table of strings without outer blanks, separated by comma, semicolon, tab or |; its index are the lines.

    Raises:
        ManifestError: it is no table of text, or rows, quotation marks or columns are not regular, with the line.
    """
    text = lines(path)
    sample = list(islice(text, SAMPLE))
    declared = re.fullmatch(r'"?sep=(.)"?\s*', sample[0] if sample else "")  # Excel's own first line
    rows = _rows(path, sample[1:] if declared else sample, text, declared[1] if declared else "")
    (_, header), *rows = rows or [(0, [])]
    if not rows:
        raise ManifestError(f"{path} {'has a header but no rows' if header else 'is empty'}: download it again")
    columns = _columns(path, header, rows)
    cells = [[row[position] for position in columns.values()] for _, row in rows]
    return DataFrame(cells, index=[line for line, _ in rows], columns=list(columns), dtype=str)


def _separator(sample: Sequence[str]) -> str:
    """The separator by which the most lines have as many fields as the header, then the most fields."""

    def regular(separator: str) -> tuple[int, int]:
        widths = [len(row) for row in csv.reader(sample, delimiter=separator, skipinitialspace=True) if row]
        width = widths[0] if widths else 0
        # Every separator that is absent gives one field a line: a width of 1 counts for nothing.
        return widths.count(width) * (width > 1), width

    return max(SEPARATORS, key=regular)


def _rows(path: str | Path, sample: list[str], text: Iterator[str], declared: str) -> list[tuple[int, list[str]]]:
    """The line that each row starts on, and its cells; rows without any text are passed over."""
    rows: list[tuple[int, list[str]]] = []
    above = len(declared)  # the line that declares the separator
    start = above + 1
    csv.field_size_limit(FIELD)
    try:
        separator = declared or _separator(sample)
        reader = csv.reader(chain(sample, text), delimiter=separator, skipinitialspace=True, strict=True)
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append((start, cells))
                width = len(rows[0][1])
                if len(cells) != width:
                    fields = f"{len(cells)} fields, and the header {width}, in {separator.join(cells)[:60]!r}"
                    raise csv.Error(f"{fields}; a value with a {separator!r} needs quotation marks")
                if any("\n" in cell and _swallows(cell, separator, width) for cell in cells):
                    raise csv.Error(f"a quotation mark takes all up to line {reader.line_num + above} for one field")
            start = reader.line_num + above + 1
    except csv.Error as error:
        raise ManifestError(f"{path} is not a regular CSV: line {start}: {error}. Correct that line") from error
    return rows


def _swallows(cell: str, separator: str, width: int) -> bool:
    """Whether a field of several lines has as many separators as rows would: then its quotation mark is a stray one."""
    breaks = len(list(filter(str.strip, cell.split("\n")))) - 1
    return cell.count(separator) >= (width - 1) * breaks


def _columns(path: str | Path, header: Sequence[str], rows: list[tuple[int, list[str]]]) -> dict[str, int]:
    """The position of each named column; two of one name must be equal."""
    columns: dict[str, tuple[str, int]] = {}
    for position, name in enumerate(header):
        if not name:
            continue
        first, earlier = columns.setdefault(fold(name), (name, position))
        for line, row in rows if earlier != position else ():
            if row[earlier] != row[position]:
                raise ManifestError(
                    f"{path} has the column {first!r} twice, and they disagree, first in line {line}: "
                    f"{row[earlier]!r} and {row[position]!r}. Remove or rename one"
                )
    return dict(columns.values())


def as_numbers(values: Series) -> Series:
    """Strings as numbers, NaN for what is none; a decimal comma is one unless it may stand between thousands."""
    if pd.api.types.is_numeric_dtype(values):
        return values
    text = values.str.strip()
    comma = text.str.fullmatch(r"[+-]?[0-9]+,[0-9]+")
    thousands = text.str.fullmatch(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
    # 1,234 can be either: a value that can only be a decimal decides for its column.
    if comma.any() and not text.str.contains(".", regex=False).any() and not thousands[comma].all():
        text = text.str.replace(",", ".", regex=False)
    numbers = pd.to_numeric(text.mask(text == ""), errors="coerce")
    return numbers.where(np.isfinite(numbers)) if np.isinf(numbers).any() else numbers


def numbers(table: DataFrame, name: str, path: str | Path, *, gaps: bool = False) -> Series:
    """A column of a table that `read_csv` read, as numbers; an empty cell is NaN where there may be `gaps`.

    Raises:
        ManifestError: a value is no number, with its line.
    """
    values = as_numbers(table[name])
    wrong = values.isna() & ~((table[name] == "") & gaps)
    if wrong.any():
        line = table.index[wrong][0]
        raise ManifestError(
            f"{path} line {line}, column {name}: {table[name][line] or '(empty)'!r} is no number "
            f"({wrong.sum():,} such rows). Write a number there, or remove the row"
        )
    return values
