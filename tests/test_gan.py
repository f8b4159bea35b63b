"""The GAN learns what it is asked for, goes on exactly where it was killed, and says when it has collapsed."""

from pathlib import Path

import hostile
import numpy as np
import pandas as pd
import pytest
import torch

from emohelpers import config
from emohelpers.config.music import Music
from emohelpers.music import composer, gan, nets, realism


def settings(**values) -> Music:
    small = {
        "seed": 1,
        "n_synthetic": 50,
        "gan_shape": (16, 16),
        "gan_latent": 8,
        "gan_epochs": 3,
        "gan_batch": 32,
        "gan_ema": 0.9,
    }
    return config.make(Music, "demo", **(small | values))


def bars(n: int = 160, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clips (n, 16, 16) in 0..1 whose bright band lies higher with valence and is louder with arousal."""
    rng = np.random.default_rng(seed)
    ratings = rng.normal(0, 0.4, (n, 2)).clip(-0.9, 0.9).astype(np.float32)
    band = np.arange(16)[None, :, None]
    centre = 7.5 + 6 * ratings[:, 0, None, None]
    clips = (0.5 + 0.35 * ratings[:, 1, None, None]) * np.exp(-((band - centre) ** 2) / 6) + 0.15
    return (clips + rng.normal(0, 0.04, (n, 16, 16))).clip(0, 1).astype(np.float16), ratings


def test_conditions_can_be_read_back_and_nothing_collapses(tmp_path: Path) -> None:
    clips, ratings = bars(320)
    cfg = settings(gan_epochs=30)
    made = gan.fit(clips, ratings, cfg, tmp_path, quiet=True)
    assert len(made.history) == 30 and made.history["diversity"].iloc[-1] > 0.5
    composed = composer.compose(made.generator, ratings, settings(n_synthetic=200), tmp_path)
    pictures = 1 + composed.take(np.arange(200)).astype(np.float32) / 80
    held, held_ratings = bars(100, seed=5)
    judge = realism.reader(clips, ratings, epochs=20)
    checks = realism.table(judge, clips, held, held_ratings, pictures, composed.ratings)
    read = checks.filter(like="read back", axis=0)
    assert (read["synthetic"] > 0.5).all() and (read["real"] > 0.7).all()
    assert checks.loc["closer than 1% of held-out songs", "synthetic"] < 0.5
    assert abs(pictures.mean() - clips.mean(dtype=np.float32)) < 0.08, "one scale for data and output"


@pytest.mark.parametrize(
    "values",
    [
        {"gan_lr": 0.0},  # a generator that never learns
        {"gan_lr": 1e-7, "gan_lr_discriminator": 2e-2, "gan_gradient_penalty": 1e-6},
    ],
)
def test_a_collapse_is_loud(tmp_path: Path, values: dict) -> None:
    clips, ratings = bars()
    with pytest.raises(gan.Collapse, match="collapsed by epoch") as caught:
        gan.fit(clips, ratings, settings(gan_epochs=60, **values), tmp_path, quiet=True)
    assert "Nothing is composed" in str(caught.value) and "gan_lr_discriminator" in str(caught.value)
    assert len(pd.read_csv(tmp_path / "gan_history.csv")) < 60 and not (tmp_path / "generator.pth").exists()


@pytest.mark.parametrize("penalty", [0.0, 5.0])
def test_a_killed_training_ends_in_the_same_bits(tmp_path: Path, penalty: float, monkeypatch) -> None:
    clips, ratings = bars(64)
    cfg = settings(gan_epochs=4, gan_gradient_penalty=penalty)
    whole = gan.fit(clips, ratings, cfg, tmp_path / "whole", quiet=True)
    done = gan._Run.epoch

    def killed(run) -> None:
        if len(run.history) == 2:
            raise KeyboardInterrupt
        done(run)

    monkeypatch.setattr(gan._Run, "epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        gan.fit(clips, ratings, cfg, tmp_path / "killed", quiet=True)
    ran = []
    monkeypatch.setattr(gan._Run, "epoch", lambda run: ran.append(done(run)))
    (tmp_path / "input" / "notebooks" / "me" / "emotion-07").mkdir(parents=True)
    monkeypatch.setenv("EMOHELPERS_INPUTS", str(tmp_path / "input"))  # a Kaggle session: the output is attached
    (tmp_path / "killed").rename(tmp_path / "input" / "notebooks" / "me" / "emotion-07" / "again")
    again = gan.fit(clips, ratings, cfg, tmp_path / "again", quiet=True)
    for name, tensor in whole.generator.state_dict().items():
        assert torch.equal(tensor, again.generator.state_dict()[name]), name
    drop = ["seconds"]
    pd.testing.assert_frame_equal(whole.history.drop(columns=drop), again.history.drop(columns=drop))
    assert len(ran) == 2, "it went on"


def alone(folder: Path) -> None:
    """A training of one thread, whatever the process that starts it computes with."""
    torch.set_num_threads(1)
    gan.fit(*bars(), settings(gan_epochs=20), folder, quiet=True)


@pytest.mark.slow
def test_killed_three_times_at_any_moment_it_ends_in_the_same_bits(tmp_path: Path) -> None:
    processes = hostile.context()

    def saved() -> list[int]:
        return [path.stat().st_mtime_ns for path in (tmp_path / "shaky").glob("checkpoints/*/last.pth")]

    for _ in range(3):
        before = saved()
        hostile.kill(processes, lambda before=before: saved() != before, 0.1, alone, tmp_path / "shaky")
    for place in (tmp_path / "shaky", tmp_path / "calm"):
        process = processes.Process(target=alone, args=(place,))
        process.start()
        process.join()
    calm, shaky = (
        torch.load(tmp_path / place / "generator.pth", weights_only=True)["weights"] for place in ("calm", "shaky")
    )
    assert calm and all(torch.equal(calm[name], shaky[name]) for name in calm)
    assert not list(tmp_path.rglob("*.part*")), "a kill left half a file that was never swept"


def test_few_steps_are_not_called_a_collapse(tmp_path: Path) -> None:
    clips, ratings = bars(48)
    begun = gan.fit(clips, ratings, settings(gan_epochs=12, gan_lr=1e-4), tmp_path, quiet=True).history
    late = begun[begun["epoch"] > gan.WARM]
    assert (late["diversity"] < gan.DIVERSE).all() and late["steps"].max() < gan.STEPS, (
        "by epochs alone it would be one"
    )


def test_exactly_so_many_in_half_precision_shards(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(composer, "SHARD", 20)
    clips, ratings = bars(64)
    made = gan.fit(clips, ratings, settings(gan_epochs=1), tmp_path, quiet=True)
    composed = composer.compose(made.generator, ratings, settings(), tmp_path)
    shards = [np.load(path, mmap_mode="r") for path in sorted(tmp_path.glob("synthetic-*.npy"))]
    assert [len(s) for s in shards] == [20, 20, 10] and len(composed) == 50 and shards[0].dtype == np.float16
    taken = composed.take(np.array([0, 19, 20, 49]))
    np.testing.assert_array_equal(taken[2], shards[1][0])
    assert taken.shape == (4, 16, 16) and -80 <= taken.min() <= taken.max() <= 0
    table = pd.read_csv(tmp_path / "synthetic.csv")
    np.testing.assert_allclose(table[["valence", "arousal"]].to_numpy(np.float32), composed.ratings)
    saved = torch.load(tmp_path / "generator.pth", weights_only=True)
    generator = nets.Generator(saved["settings"])
    generator.load_state_dict(saved["weights"])
    again = composer.compose(generator.eval(), ratings, settings(), tmp_path / "again")
    np.testing.assert_array_equal(again.take(np.arange(50)), composed.take(np.arange(50)))


def test_conditions_come_from_where_songs_are() -> None:
    ratings = np.array([[0.3, 0.3], [0.5, 0.1], [0.4, -0.2]], np.float32)
    drawn = composer.conditions(ratings, 500, np.random.default_rng(0))
    assert (drawn >= ratings.min(0)).all() and (drawn <= ratings.max(0)).all() and drawn.std(0).min() > 0.02


def test_a_shape_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="multiple of"):
        nets.Generator({"shape": [20, 30], "latent": 4, "width": 4, "regulariser": "spectral"})


def test_distances_are_zero_for_the_same_and_grow_with_what_differs() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (2000, 4)), rng.normal(0, 1, (2000, 4))
    assert realism.frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert realism.frechet(a, b) < 0.05 and abs(realism.kernel(a, b)) < 0.1
    assert realism.frechet(a, b + 1) == pytest.approx(4, rel=0.1), "the squared distance of the means"
    assert realism.frechet(a, 2 * b) == pytest.approx(4, rel=0.15), "of the standard deviations"
    assert realism.kernel(a, b + 1) > 1


def test_copies_are_seen() -> None:
    clips, ratings = bars(120)
    held, held_ratings = bars(80, seed=3)
    judge = realism.reader(clips, ratings, epochs=3)
    copied = realism.table(judge, clips, held, held_ratings, clips, ratings)
    fresh, fresh_ratings = bars(120, seed=4)
    honest = realism.table(judge, clips, held, held_ratings, fresh, fresh_ratings)
    row = "closer than 1% of held-out songs"
    assert copied.loc[row, "synthetic"] == 1 and honest.loc[row, "synthetic"] < 0.1
    same = realism.table(judge, clips, held, held_ratings, np.repeat(clips[:1], 120, 0), ratings)
    assert same.loc["diversity", "synthetic"] < 0.05 * same.loc["diversity", "real"]
