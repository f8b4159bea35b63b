"""Rated songs are read whole or what is wrong is said; splits keep groups together; played songs follow their cues."""

import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tones

from emohelpers import config
from emohelpers.config.music import Music
from emohelpers.datasets import songs
from emohelpers.datasets.drawn import songs as played
from emohelpers.datasets.locate import ManifestError


def table_of(root: Path, which: str = "1_2000") -> Path:
    return next(root.rglob(f"static_annotations_averaged_songs_{which}.csv"))


def message(function, *given, **named) -> str:
    with pytest.raises(ManifestError) as caught:
        function(*given, **named)
    return str(caught.value)


def wrong(root: Path) -> str:
    return message(songs.check, songs.load("deam", root))


@pytest.fixture
def deam(tmp_path: Path) -> Path:
    return tones.folder(tmp_path / "deam")


def test_both_tables_are_read_by_name_and_scaled(deam: Path) -> None:
    data = songs.check(songs.load("deam", deam))
    assert len(data.table) == 42 and not data.problems and not data.left_out
    text = table_of(deam, "2000_2058").read_text().splitlines()
    fields = dict(zip([name.strip() for name in text[0].split(",")], text[1].split(","), strict=True))
    row = data.table.set_index("song").loc["2001"]
    assert row["arousal"] == pytest.approx((float(fields["arousal_mean"]) - 5) / 4)
    assert row["arousal"] != pytest.approx((float(fields["valence_ max_mean"]) - 5) / 4)
    assert list(data.table["song"])[:3] == ["2", "3", "4"], "sorted as numbers"
    assert data.table[["valence", "arousal"]].abs().max().max() <= 1


def test_another_nesting_and_a_root_given_too_high(deam: Path, tmp_path: Path) -> None:
    flat = tmp_path / "inputs" / "static-annotations-1-2000"
    flat.mkdir(parents=True)
    for path in deam.rglob("*.csv"):
        shutil.move(path, flat / path.name)
    shutil.move(deam / "DEAM_audio", tmp_path / "inputs" / "DEAM" / "audio")
    again = songs.check(songs.load("deam", tmp_path / "inputs"))
    assert len(again.table) == 42
    apart = songs.check(songs.load("deam", tmp_path / "inputs" / "DEAM", flat))
    pd.testing.assert_frame_equal(apart.table.drop(columns="path"), again.table.drop(columns="path"))


def test_a_missing_table_and_ids_in_one_file_only(deam: Path) -> None:
    table_of(deam, "2000_2058").unlink()
    (deam / "DEAM_audio" / "MEMD_audio" / "7.wav").unlink()
    data = songs.load("deam", deam)
    assert data.left_out["7"] == "rated, but there is no audio file"
    assert "2000_2058.csv was not found" in data.left_out["2001"] and "2000_2058" in " ".join(data.notes)
    text = message(songs.check, data)
    assert "3 of 42 songs" in text and "max_unreadable" in text and "2001" in text
    kept = songs.check(data, max_unreadable=0.1)
    assert len(kept.table) == 39 and set(kept.left_out) == {"7", "2001", "2002"}, "nothing lost: left out and named"


def test_no_table_no_audio_no_folder(deam: Path, tmp_path: Path) -> None:
    text = message(songs.load, "deam", tmp_path / "nowhere")
    assert "nowhere" in text and "imsparsh/deam" in text
    for path in deam.rglob("*.csv"):
        path.unlink()
    text = message(songs.load, "deam", deam)
    assert "static_annotations_averaged_songs_1_2000.csv" in text and "LABELS_CSV" in text and "DEAM_audio" in text
    shutil.rmtree(deam)
    tones.folder(deam)
    shutil.rmtree(deam / "DEAM_audio")
    assert "none of the 42 rated songs" in message(songs.load, "deam", deam)


def test_arousal_is_never_taken_from_another_column(deam: Path) -> None:
    path = table_of(deam, "2000_2058")
    path.write_text(path.read_text().replace("arousal_mean", "arousal_average"))
    text = message(songs.load, "deam", deam)
    assert "no column 'arousal_mean'" in text and "'valence_ max_mean'" in text and "Nothing else is taken" in text


def test_valence_max_taken_for_arousal_is_seen(deam: Path) -> None:
    path = table_of(deam)
    head, *rows = path.read_text().splitlines()
    shifted = [",".join([*row.split(",")[:3], str(min(float(row.split(",")[1]) + 1.2, 9)), "1"]) for row in rows]
    path.write_text("\n".join([head, *shifted]) + "\n")
    assert "looks like" in (text := wrong(deam)) and "valence_ max_mean" in text


def test_values_that_cannot_be(deam: Path) -> None:
    path = table_of(deam)
    lines = path.read_text().splitlines()
    lines[1] = "2,9.5,1,0.2,1"
    lines[2] = "3,,1,5,1"
    lines[3] = "4,0.3,1,-0.4,1"
    path.write_text("\n".join(lines) + "\n")
    text = wrong(deam)
    assert "3 values of valence_mean" in text and "2 values of arousal_mean" in text
    assert "within 1..9" in text and "song 2: '9.5' (line 2)" in text and "song 3: '' (line 3)" in text


def test_a_table_as_excel_saves_it_and_ids_in_other_spellings(deam: Path) -> None:
    before = songs.check(songs.load("deam", deam)).table
    path = table_of(deam)
    rows = [line.replace(", ", ",").replace(",", ";").replace(".", ",") for line in path.read_text().splitlines()]
    rows = [rows[0].upper(), *(f"0{row.replace(';', ',0;', 1)}" for row in rows[1:])]  # 2 as 02,0
    path.write_bytes("\n".join(row.replace(",0;", ".0;", 1) for row in rows).encode("utf-16"))
    pd.testing.assert_frame_equal(songs.check(songs.load("deam", deam)).table, before)


def test_a_scale_must_rise(tmp_path: Path) -> None:
    for scale in ("[9, 1]", "[5, 5]", "[0, .inf]", "[.nan, 9]"):
        (tmp_path / "m.yaml").write_text(f"name: m\ntables: [a.csv]\nscale: {scale}\n")
        assert "two different numbers" in message(songs.read, tmp_path / "m.yaml")


def test_repeated_and_contradicting_rows(deam: Path) -> None:
    path = table_of(deam)
    text = path.read_text()
    path.write_text(text + text.splitlines()[1].replace("2,", "002,", 1) + "\n")
    data = songs.check(songs.load("deam", deam))
    assert len(data.table) == 42 and "1 repeated rows" in " ".join(data.notes)
    path.write_text(text + "2,1.1,1,8.9,1\n")
    assert "rated twice and differently, e.g. song 2" in wrong(deam)


def test_two_different_files_of_one_id(deam: Path) -> None:
    audio = deam / "DEAM_audio" / "MEMD_audio"
    shutil.copy(audio / "2.wav", deam / "2.wav")
    assert len(songs.check(songs.load("deam", deam)).table) == 42, "an equal copy is no contradiction"
    shutil.copy(audio / "3.wav", deam / "2.wav")
    assert "several different audio files, e.g. 2" in wrong(deam)


def test_unknown_descriptions(tmp_path: Path) -> None:
    assert "did you mean deam" in message(songs.read, "deem")
    (tmp_path / "mine.yaml").write_text("name: mine\ntables: [a.csv]\nidd: x\n")
    text = message(songs.read, tmp_path / "mine.yaml")
    assert "idd: no such key; did you mean id" in text and "data_manifests/README.md" in text


def test_descriptions_say_what_a_reader_must_know() -> None:
    for name in songs.names():
        about = songs.read(name)
        assert about.name == name
        for key in ("title", "licence", "citation", "source", "traps"):
            assert getattr(about, key), key


def settings(**values) -> SimpleNamespace:
    return SimpleNamespace(**{"folds": 5, "fold": 0, "val_share": 0.15, "split_seed": 42, **values})


def rated(n: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    ids = [str(i) for i in range(n)]
    table = pd.DataFrame({"song": ids, "path": [f"{i}.mp3" for i in ids], "group": ids})
    return table.assign(valence=rng.normal(0.1, 0.4, n).clip(-1, 1), arousal=rng.normal(0, 0.4, n).clip(-1, 1))


def test_folds_cover_every_song_once_and_keep_the_mix_and_the_groups() -> None:
    table = rated()
    table.loc[:19, "group"] = "one artist"
    tested = []
    for fold in range(5):
        done = songs.split(table, settings(fold=fold))
        assert songs.leaks(done) == 0
        assert done.loc[:19, "split"].nunique() == 1
        assert set(done["split"]) == {"train", "val", "test"}
        tested += list(done.loc[done["split"] == "test", "song"])
        shares = pd.crosstab(songs.quadrants(done), done["split"], normalize="columns")
        assert (shares["train"] - shares["test"]).abs().max() < 0.12
    assert sorted(tested) == sorted(table["song"])
    pd.testing.assert_frame_equal(songs.split(table, settings(fold=2)), songs.split(table, settings(fold=2)))


def test_a_leak_is_counted() -> None:
    done = songs.split(rated(), settings())
    done.loc[done.index[done["split"] == "train"][0], "group"] = done.loc[done["split"] == "test", "group"].iloc[0]
    assert songs.leaks(done) == 1


def test_too_few_songs() -> None:
    assert "too few for 5 folds" in message(songs.split, rated(8), settings())


def test_equal_audio_is_one_group(deam: Path) -> None:
    data = songs.load("deam", deam)
    paths = list(data.table["path"])
    heard = SimpleNamespace(
        unreadable={}, recordings=paths, sha256=["same" if p.endswith(("/2.wav", "/9.wav")) else p for p in paths],
        rows=lambda wanted: np.array([paths.index(p) for p in wanted]),
    )  # fmt: skip
    table = songs.check(data, heard).table.set_index("song")
    assert table.loc["2", "group"] == table.loc["9", "group"] == "2" and table["group"].nunique() == 41


def test_settings_of_pictures_are_refused() -> None:
    with pytest.raises(config.ConfigError, match="mixup: no such setting"):
        config.make(Music, "demo", mixup=0.2)


# ---------------------------------------------------------------- the played songs


def test_played_songs_are_a_data_set_in_deams_layout(tmp_path: Path) -> None:
    root = played.write_songs(tmp_path / "songs", n=40, seconds=2.2)
    data = songs.check(songs.load("demo_songs", root))
    assert len(data.table) == 40 and data.demo and (data.table["song"].astype(int) > 2000).sum() == 2
    truth = pd.read_csv(root / "songs.csv", dtype={"song_id": str}).set_index("song_id").loc[data.table["song"]]
    for name in songs.TARGETS:
        noise = np.corrcoef(truth[name], data.table[name])[0, 1]
        assert 0.85 < noise < 0.999, "raters agree mostly, never wholly"
    assert set(data.table["path"].str.rsplit(".").str[-1]) == {"mp3", "wav"}


def test_the_same_seed_plays_the_same_samples(tmp_path: Path) -> None:
    rows = played.plan(20, 7, 2.0)
    assert [hashlib.sha256(played.play(r).tobytes()).hexdigest() for r in rows[:4]] == [
        hashlib.sha256(played.play(r).tobytes()).hexdigest() for r in played.plan(20, 7, 2.0)[:4]
    ]
    assert not np.array_equal(played.play(rows[0])[:1000], played.play(rows[1])[:1000])
    other = played.write_songs(tmp_path / "s", n=12, seconds=2.0)
    stamp = (other / "songs.csv").stat().st_mtime_ns
    assert played.write_songs(tmp_path / "s", n=12, seconds=2.0) == other
    assert (other / "songs.csv").stat().st_mtime_ns == stamp, "there already: left alone"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(FileExistsError, match="not a data set made by code"):
        played.write_songs(tmp_path / "mine", n=12, seconds=2.0)


def test_cues_follow_valence_and_arousal() -> None:
    rows = pd.DataFrame(played.plan(600, 1, 2.0))
    with_arousal = rows[["bpm", "level_db", "legato", "brightness", "density", "drums"]].corrwith(rows["arousal"])
    assert (with_arousal.abs() > 0.6).all() and with_arousal["legato"] < 0 and with_arousal["brightness"] < 0
    major = rows.groupby("mode")["valence"].mean()
    assert major["major"] - major["minor"] > 0.3
    assert rows["register"].corr(rows["valence"]) > 0.5 and rows["roughness"].corr(rows["valence"]) < -0.5
