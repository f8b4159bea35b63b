"""The embedded faces: same bytes every time, AffectNet's quirks, masks that fit, a trunk that loads."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from emohelpers.datasets.drawn import action_units, faces, paint, people
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.models.weights import TRUNKS

N = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return faces.write_faces(tmp_path_factory.mktemp("demo") / "faces", n=N, seed=7)


@pytest.fixture(scope="module")
def known(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "faces.csv", keep_default_na=False)


def fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(path.relative_to(folder).as_posix().encode() + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


def test_same_arguments_give_the_same_bytes(tmp_path):
    one = faces.write_faces(tmp_path / "one", n=100, seed=3, workers=1)
    assert fingerprint(one) == fingerprint(faces.write_faces(tmp_path / "two", n=100, seed=3))
    assert fingerprint(one) != fingerprint(faces.write_faces(tmp_path / "three", n=100, seed=4))


def test_processes_do_not_change_the_bytes(tmp_path, monkeypatch):
    alone = fingerprint(faces.write_faces(tmp_path / "alone", n=80, seed=3, workers=1))
    monkeypatch.setattr(faces, "FEW", 10)
    assert fingerprint(faces.write_faces(tmp_path / "both", n=80, seed=3, workers=2)) == alone


def test_second_call_finds_it_ready_and_other_arguments_replace_it(tmp_path):
    folder = faces.write_faces(tmp_path / "faces", n=80, seed=3)
    before = (folder / "labels.csv").stat().st_mtime_ns
    assert faces.write_faces(folder, n=80, seed=3) == folder
    assert (folder / "labels.csv").stat().st_mtime_ns == before
    faces.write_faces(folder, n=90, seed=3)
    assert len(pd.read_csv(folder / "labels.csv")) == 90


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no faces.json"):
        faces.write_faces(tmp_path, n=80)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_interruption_leaves_no_half_data_set(tmp_path, monkeypatch):
    drawn = []

    def interrupted(row):
        drawn.append(row)
        if len(drawn) > 20:
            raise KeyboardInterrupt
        return paint.face(people.person(1), people.shot(1), faces._units(row))

    monkeypatch.setattr(faces, "draw_face", interrupted)
    with pytest.raises(KeyboardInterrupt):
        faces.write_faces(tmp_path / "faces", n=80)
    assert list(tmp_path.iterdir()) == []


def test_layout_is_affectnets(folder, known):
    table = pd.read_csv(folder / "labels.csv")
    assert list(table.columns) == ["Unnamed: 0", "pth", "label", "relFCs"]
    assert set(table.label) == set(EMOTIONS) == {p.name for p in folder.iterdir() if p.is_dir()}
    assert table.pth.is_unique and table.relFCs.between(0, 1).all()
    assert sorted(table.pth) == sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.jpg"))
    assert (known.pth == table.pth).all() and (known.label == table.label).all()
    assert {cv2.imread(str(folder / p)).shape for p in table.pth[:50]} == {(96, 96, 3)}


def test_folders_disagree_and_stems_recur_as_in_affectnet(known):
    shelf, stem = known.pth.str.split("/").str[0], known.pth.str.split("/").str[1]
    agree = shelf == known.label
    assert agree.mean() == pytest.approx(0.63, abs=0.005)
    assert agree[known.label == "neutral"].mean() == pytest.approx(0.35, abs=0.01)
    again = known[stem.duplicated(keep=False)].assign(stem=stem)
    assert 0.03 <= stem.duplicated().mean() <= 0.06
    assert (again.groupby("stem").identity.nunique() == 1).all()  # so that a stem never ties two groups together
    assert (again.groupby("stem").label.nunique() > 1).mean() > 0.5


def test_classes_have_a_long_tail_and_labels_the_stated_error(known):
    sizes = known.emotion.value_counts()
    assert 2.2 <= sizes.max() / sizes.min() <= 2.8
    assert set(sizes.index[:2]) == {"neutral", "happy"} and sizes.index[-1] == "disgust"
    assert (known.label != known.emotion).sum() == round(0.06 * N)


def test_an_identity_keeps_its_traits_and_gets_three_to_five_pictures(known):
    traits = ["person_seed", "skin_type", "skin_group", "age", "age_group", "glasses"]
    assert (known.groupby("identity")[traits].nunique() == 1).all(axis=None)
    assert known.identity.value_counts().iloc[:-1].between(3, 5).all()
    assert known.skin_group.nunique() == 3 and known.age_group.nunique() == 3


def test_a_row_draws_its_file_again(folder, known):
    for row in known.iloc[:5].to_dict("records"):
        assert faces.jpeg(faces.draw_face(row), row["quality"]) == (folder / row["pth"]).read_bytes()


def test_masks_are_inside_the_picture_and_where_the_part_is(known):
    middles = []
    for row in known.iloc[:60].to_dict("records"):
        masks = faces.regions(row)
        assert {m.shape for m in masks.values()} == {(96, 96)} and {m.dtype for m in masks.values()} == {np.dtype(bool)}
        for name in ("brows", "eyes", "nose", "mouth", "cheeks"):
            assert 20 < masks[name].sum() < 0.25 * 96 * 96, (name, row["pth"])
            assert (masks[name] & masks["face"]).sum() > 0.7 * masks[name].sum(), (name, row["pth"])
        assert masks["hidden"].any() == (row["occluded"] != "none")
        middles.append([np.argwhere(masks[n]).mean(0)[0] for n in ("brows", "eyes", "nose", "mouth")])
    assert (np.diff(np.array(middles), axis=1) > 0).all()  # from top to bottom


def test_redrawing_changes_the_expression_and_keeps_the_person(known):
    changed = []
    for row in known[(known.emotion == "neutral") & (known.occluded == "none")].iloc[:12].to_dict("records"):
        before, after = faces.draw_face(row).astype(int), faces.redraw(row, "surprise").astype(int)
        difference = np.abs(after - before).sum(2)
        new = faces.reexpressed(row, "surprise")
        assert {k: new[k] for k in ("identity", "person_seed", "shot_seed")} == {
            k: row[k] for k in ("identity", "person_seed", "shot_seed")
        }
        old_masks, new_masks = faces.regions(row), faces.regions(new)
        inside = np.zeros((96, 96), bool)
        for name in ("brows", "eyes", "mouth", "nose"):
            inside |= old_masks[name] | new_masks[name]
            if name in ("brows", "mouth"):
                assert difference[old_masks[name] | new_masks[name]].mean() > 1.5 * difference.mean()
        near = cv2.dilate((inside | old_masks["face"] | new_masks["face"]).astype(np.uint8), np.ones((19, 19)))
        assert difference[near == 0].mean() < 0.5  # background, clothes and light stay
        changed.append(difference[inside].sum() / difference.sum())
    assert np.mean(changed) > 0.6


def test_redrawing_is_deterministic_and_refuses_unknown_emotions(known):
    row = known.iloc[0].to_dict()
    assert (faces.redraw(row, "fear") == faces.redraw(row, "fear")).all()
    with pytest.raises(ValueError, match="unknown emotion 'bored'"):
        faces.redraw(row, "bored")


def test_prototypes_are_shown_by_their_units():
    rng = np.random.default_rng(0)
    for emotion in EMOTIONS:
        shown = action_units.expression(emotion, 1.0, rng, play=0)
        active = {unit for unit in action_units.UNITS if shown[f"au{unit}"] > 0}
        assert active == set(action_units.PROTOTYPES[emotion])
    assert abs(action_units.expression("contempt", 1.0, rng)["lean"]) > 0.7  # one side of the face


def test_wrong_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="wrong_labels=1.5"):
        faces.write_faces(tmp_path / "x", wrong_labels=1.5)


@pytest.mark.parametrize("trunk", sorted(TRUNKS.iterdir()), ids=lambda folder: folder.name)
def test_trunk_is_small_and_loads_strictly(trunk):
    timm = pytest.importorskip("timm")
    from safetensors.torch import load_file

    assert sum(p.stat().st_size for p in trunk.iterdir()) < 1_000_000
    weights = load_file(trunk / "model.safetensors")
    for classes in (0, len(EMOTIONS)):
        model = timm.create_model(f"local-dir:{trunk}", pretrained=True, num_classes=classes)
        head = model.pretrained_cfg["classifier"]
        own = {k: v for k, v in model.state_dict().items() if not k.startswith(f"{head}.")}
        assert own.keys() == weights.keys()
        assert all((own[k] == weights[k].float()).all() for k in own)
    data = timm.data.resolve_model_data_config(model)
    assert tuple(data["input_size"]) == (3, 96, 96) and data["crop_pct"] == 1.0
    assert list(data["mean"]) == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("trunk", sorted(TRUNKS.iterdir()), ids=lambda folder: folder.name)
def test_trunk_receipt_says_what_it_was_trained_on(trunk):
    receipt = json.loads((trunk / "receipt.json").read_text())
    assert receipt["drawing"] == faces.DRAWING_VERSION
    assert not {2024, receipt["held_out_seed"]} & set(receipt["seeds"])  # no face of the demo's own seed
    assert receipt["r2_mean_action_units"] > 0.3
