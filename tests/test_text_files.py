"""Tables, JSON and YAML that people hand in: read as text in any common dress, or refused with the line."""

import codecs

import pytest

from emohelpers.datasets.locate import ManifestError
from emohelpers.datasets.text_files import as_numbers, numbers, read_csv, read_json, read_yaml

ROWS = [["0001", "dégoût", "1.0"], ["0002", "NA", "null"], ["0010", "", "-1"]]
PLAIN = "id,label,code\n" + "".join(",".join(row) + "\n" for row in ROWS)


def refused(read, path, content) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ManifestError) as error:
        read(path)
    return str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        codecs.BOM_UTF8 + PLAIN.encode(),
        PLAIN.encode("utf-16"),
        codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be"),
        PLAIN.replace(",", "\t").encode("utf-16"),
        PLAIN.replace(",", ";").encode(),
        ("sep=;\n" + PLAIN.replace(",", ";")).encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace("\n", " \r\n").replace(",", " , ").encode(),
        (PLAIN + ",,\n\n,,\n").encode(),
        PLAIN.replace("id,label", '"id", "label"').encode(),
    ],
)
def test_values_stay_what_is_written_in_any_encoding_and_separator(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    table = read_csv(path)
    assert list(table.columns) == ["id", "label", "code"] and table.to_numpy().tolist() == ROWS
    assert list(table.index)[0] == (3 if content.startswith(b"sep") else 2)


def test_the_separator_is_the_regular_one_not_the_frequent_one(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("name\tlabel (happy, sad, ...)\tscore\na\thappy\t3,5\nb\tsad\t1,25\n")
    table = read_csv(path)
    assert table["label (happy, sad, ...)"].tolist() == ["happy", "sad"]
    assert numbers(table, "score", path).tolist() == [3.5, 1.25]
    path.write_text('path,note\na.png,"two lines\nof a note"\nb.png,x\n')
    assert list(read_csv(path).index) == [2, 4]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ["is empty", "download"]),
        ("path,label\n", ["a header but no rows"]),
        ("path,label\na,happy\nb,sad,1\n", ["line 3", "3 fields, and the header 2", "'b,sad,1'"]),
        ("path,label\na,happy\nb\n", ["line 3", "1 fields, and the header 2"]),
        ('path,label\na,happy\n"b,sad\nc,sad\nd",happy\n', ["line 3", "all up to line 5"]),
        ('path,label\na,"happy\nb,sad\nc,happy"\n', ["line 2", "all up to line 4"]),
        ('path,label\na,"happy\n\nb,sad\n \nc,happy"\n', ["line 2", "all up to line 6"]),
        ('path,label\na,happy\n"b,sad\nc,sad\n', ["line 3", "unexpected end"]),
        ('path,label\n"a"x,happy\n', ["line 2"]),
        ("path,label,label\na,happy,happy\nb,sad,happy\n", ["'label' twice", "line 3", "'sad' and 'happy'"]),
        ("path,label, Label \na,happy,happy\nb,sad,happy\n", ["'label' twice", "line 3"]),
        ("path,label\na,trübe\n".encode("cp1252"), ["is not UTF-8", "line 2", "0xfc", "'ü'", "CSV UTF-8"]),
        ("path,label\na,happy\n".encode("utf-16-le"), ["is not UTF-8", "line 1", "UTF-16"]),
        (PLAIN.encode() + b"\0" * 64, ["line 5", "0x00", "damaged"]),
        (PLAIN.encode("utf-16")[:-1], ["cut off"]),
        (b"PK\x03\x04" + bytes(99), ["Excel"]),
        ("\n<!DOCTYPE html><html>", ["web page"]),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", ["git lfs pull"]),
    ],
)
def test_what_is_not_regular_is_refused_with_its_line(tmp_path, content, parts):
    text = refused(read_csv, tmp_path / "t.csv", content)
    assert str(tmp_path / "t.csv") in text and all(part in text for part in parts), text


def test_equal_columns_of_one_name_are_one(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("path,label,,label\na,happy,1,happy\nb,sad,2,sad\n")
    assert list(read_csv(path).columns) == ["path", "label"]


def test_a_decimal_comma_is_read_unless_it_may_part_thousands(tmp_path):
    def column(*texts):
        path = tmp_path / "t.csv"
        path.write_text("a;b\n" + "".join(f"{text};x\n" for text in texts))
        return read_csv(path)["a"]

    assert as_numbers(column("3,5", "4", "1,250")).tolist() == [3.5, 4, 1.25]
    assert as_numbers(column("1,250", "2,000")).isna().all()  # 1.25 or 1250?
    assert as_numbers(column("1.250", "3,5")).isna().tolist() == [False, True]
    assert as_numbers(column("inf", "nan", "1e3")).isna().tolist() == [True, True, False]
    table = column("4", "n/a", "").to_frame()
    with pytest.raises(ManifestError, match=r"t\.csv line 3, column a: 'n/a' is no number \(2 such rows\)"):
        numbers(table, "a", "t.csv")
    assert numbers(table[table["a"] != "n/a"], "a", "t.csv", gaps=True).isna().tolist() == [False, True]


def test_json_and_yaml_with_marks_and_with_what_says_two_things(tmp_path):
    path = tmp_path / "f"
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_bytes('{"train": ["é"]}'.encode(encoding))
        assert read_json(path) == read_yaml(path) == {"train": ["é"]}
    assert "'val' stands there twice" in refused(read_json, path, '{"val": [1], "val": [2]}')
    assert "is not JSON" in refused(read_json, path, "[" * 100_000)
    assert "stands there twice" in refused(read_yaml, path, "labels: {0: sad, 1: happy, 0: fear}")
    assert "line 2" in refused(read_yaml, path, "a: &a [x]\nb: *a")
    for hostile in ("[" * 100_000, "a: 2020-13-45", "a: " + "9" * 10_000, "a: \x00"):
        assert str(path) in refused(read_yaml, path, hostile)
    assert "larger than" in refused(read_yaml, path, "a: b\n" * 300_000)
