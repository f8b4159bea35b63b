"""Data sets as their authors hand them out: read, or refused by name with a way forward that works."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emohelpers.datasets import faces as manifests
from emohelpers.datasets.locate import ManifestError

RAF = ("surprise", "fear", "disgust", "happy", "sad", "anger", "neutral")


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)).save(path)


def own(folder, layout, **keys):
    text = "".join(f"{name}: {value}\n" for name, value in {"name": "own", "layout": layout, **keys}.items())
    folder.mkdir(exist_ok=True)
    (folder / "own.yaml").write_text(text)
    return folder / "own.yaml"


def refused(*arguments, **options):
    with pytest.raises(ManifestError) as caught:
        manifests.check(manifests.load(*arguments, **options))
    return str(caught.value)


@pytest.mark.parametrize("named", [False, True])
def test_rafdbs_own_list_takes_the_aligned_pictures_and_its_split(tmp_path, named):
    lines = []
    for i in range(42):
        name = f"train_{i:05d}" if i < 28 else f"test_{i:04d}"
        picture(tmp_path / "Image" / "aligned" / f"{name}_aligned.jpg", i)
        picture(tmp_path / "Image" / "original" / f"{name}.jpg", 100 + i)  # whole photographs
        lines.append(f"{name}.jpg {i % 7 + 1}")
    file = tmp_path / "EmoLabel" / "list_patition_label.txt"
    file.parent.mkdir()
    file.write_text("\n".join(lines))
    data = manifests.check(manifests.load("rafdb", tmp_path, file if named else ""))
    rows = data.table.set_index("path")
    for i, line in enumerate(lines):
        row = next(rows.loc[path] for path in rows.index if line.split(".")[0] in path)
        assert row.name.endswith("_aligned.jpg")
        assert (row["label"], row["split"]) == (RAF[i % 7], "train" if i < 28 else "test")


@pytest.mark.parametrize("separator", [" ", ",", "\t", ";"])
def test_a_list_without_a_header_loses_no_row(tmp_path, separator):
    lines = []
    for i in range(6):
        picture(tmp_path / f"{i}.png", i)
        lines.append(f"{i}.png{separator}{('happy', 'sad')[i % 2]}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    data = manifests.check(manifests.load(own(tmp_path, "{kind: table}"), tmp_path))
    assert list(data.table["label"]) == ["happy", "sad"] * 3


def test_affectnets_own_form_is_named_and_the_way_forward_works(tmp_path):
    order = ["neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt"]
    for i in range(24):
        picture(tmp_path / "val_set" / "images" / f"{i}.jpg", i)
        (tmp_path / "val_set" / "annotations").mkdir(exist_ok=True)
        np.save(tmp_path / "val_set" / "annotations" / f"{i}_exp.npy", np.array(str(i % 8)))
        np.save(tmp_path / "val_set" / "annotations" / f"{i}_aro.npy", np.array("0.1"))
    text = refused("affectnet", tmp_path)
    assert "AffectNet as its authors give it" in text and "holds arrays" not in text
    code = re.search(r'python -c "(.*?)"\n', text, re.DOTALL)[1]
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    data = manifests.check(manifests.load("affectnet_yakhyokhuja", tmp_path, "labels.csv"))
    label = dict(zip(data.table["path"], data.table["label"], strict=True))
    assert len(label) == 24
    assert all(label[path] == order[int(re.search(r"(\d+)\.jpg", path)[1]) % 8] for path in label)


def test_forms_that_are_not_read_are_named(tmp_path):
    yaml = own(tmp_path, "{kind: table}")
    (tmp_path / "data").mkdir()
    for name, word in (
        ("train-00000.parquet", "is a parquet file"),
        ("faces.h5", "holds arrays"),
        ("faces.zip", "unpack it"),
        ("ratings.csv", "LABELS_CSV"),
    ):
        (tmp_path / "data" / name).write_bytes(b"PAR1")
        assert f"data/{name}" in refused(yaml, tmp_path) and word in refused(yaml, tmp_path)
    assert "is a parquet file" in refused(yaml, tmp_path, "data/train-00000.parquet")


def test_fer2013s_later_file_is_found_by_its_name(tmp_path):
    pixels = [" ".join(map(str, np.random.default_rng(i).integers(0, 256, 48 * 48))) for i in range(28)]
    usage = ["Training"] * 20 + ["PublicTest"] * 4 + ["PrivateTest"] * 4
    table = pd.DataFrame({"emotion": [i % 7 for i in range(28)], " Usage": usage, " pixels": pixels})
    table.to_csv(tmp_path / "icml_face_data.csv", index=False)
    data = manifests.check(manifests.load("fer2013_csv", tmp_path))
    assert data.table["split"].value_counts().to_dict() == {"train": 20, "val": 4, "test": 4}


def test_doubled_folders_are_read_by_the_pattern_that_the_message_names_and_what_is_left_out_is_told(tmp_path):
    for i in range(12):
        split = "train" if i < 8 else "test"
        picture(tmp_path / "d" / split / split / ("happy", "sad")[i % 2] / f"{i}.png", i)
    layout = "{{kind: folders, pattern: '{}'}}"
    text = refused(own(tmp_path / "a", layout.format("{split}/{label}")), tmp_path / "d")
    pattern = re.search(r"pattern: '(\S+)'", text)[1]
    data = manifests.check(manifests.load(own(tmp_path / "b", layout.format(pattern)), tmp_path / "d"))
    assert data.table["split"].value_counts().to_dict() == {"train": 8, "test": 4}
    for name in ("happy", "sad"):
        (tmp_path / "d" / "test" / "test" / name).rename(tmp_path / "d" / "test" / name)
    data = manifests.load(own(tmp_path / "a", layout.format("{split}/{label}")), tmp_path / "d")
    assert any("8 pictures are in no folder of '{split}/{label}'" in note for note in data.notes)
