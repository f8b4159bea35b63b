"""Trains a conditional GAN that composes spectrograms for a valence and arousal, and says so when it collapses.

Data and output share one scale (standardised by the training part, no Tanh). The discriminator is kept smooth by
spectral norm or by a gradient penalty on real clips (Mescheder et al., arXiv 1801.04406). A reader that has learned
valence and arousal from real training clips rewards the generator where its own can be read. Two rates (TTUR, Heusel et
al., arXiv 1706.08500), hinge loss, averaged weights; in fp32 on a card too, since a step that fp16 skips in one net
unbalances the two.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from numpy.random import default_rng
from pandas import DataFrame
from torch import Tensor, from_numpy, no_grad
from torch.nn.functional import mse_loss, relu
from torch.optim import Adam
from tqdm.auto import tqdm

from emohelpers import config
from emohelpers.config import files, paths, sealed
from emohelpers.config.errors import SuiteError
from emohelpers.models import devices, weights
from emohelpers.music import realism
from emohelpers.music.composer import conditions
from emohelpers.music.nets import Discriminator, Generator
from emohelpers.train import optim

PROBES = 64  # clips composed after every epoch from the same noise and conditions
DIVERSE = 0.3  # of the training clips' spread: below, the composed ones are (nearly) all alike
LOST = 0.02  # hinge loss of a discriminator that nothing can fool any more; about 1 to 2 where the two are matched
PATIENCE = 4  # epochs in a row that make a collapse
WARM, STEPS = 6, 150  # epochs and steps at the start that are not judged: clips begin alike and grow apart
BETAS = (0.0, 0.9)  # of Adam, for both nets
STATE = ("generator", "discriminator", "moves", "judges")  # of a checkpoint, beside history and averaged weights


class Collapse(SuiteError, RuntimeError):
    """The generator makes nearly one clip only, or the discriminator cannot be fooled any more; with the remedy."""


@dataclass(frozen=True)
class Fit:
    """What came out of the training; generator.pth and discriminator.pth hold both nets."""

    generator: Generator  # with averaged weights
    history: DataFrame  # one row an epoch

    @property
    def seconds(self) -> float:
        """Of training, over all sessions."""
        return float(self.history["seconds"].sum())

    def __str__(self) -> str:
        return f"{len(self.history)} epochs, {self.seconds:.0f} s, no collapse"


def fit(pictures: ndarray, ratings: ndarray, cfg, folder: str | Path, *, quiet: bool = False) -> Fit:
    """Trains both nets on training clips alone; killed and called again it goes on, on a CPU to the same bits.

    Args:
        pictures: (n, *cfg.gan_shape) in 0..1, of `sound.pictures`. ratings: (n, 2) on -1..1.
        cfg: the `gan_...` settings of `config.Music`.
        folder: gets generator.pth, discriminator.pth, gan_history.csv and checkpoints/gan-<run>/last.pth.

    Raises:
        Collapse: seen over several epochs in a row; nothing is composed with such a generator.
    """
    run = _Run(pictures, ratings, cfg, Path(folder))
    run.resume()
    epochs = range(len(run.history), cfg.gan_epochs)
    for _ in tqdm(epochs, "GAN", cfg.gan_epochs, unit="epoch", mininterval=2, initial=epochs.start, disable=quiet):
        run.epoch()
    return run.finish()


class _Run:
    """State of one training between its epochs."""

    def __init__(self, pictures: ndarray, ratings: ndarray, cfg, folder: Path):
        device = devices.device()
        if device.type == "cpu":
            devices.keep_memory()
        settings = {
            "shape": list(cfg.gan_shape),
            "latent": cfg.gan_latent,
            "width": cfg.gan_width,
            "regulariser": "penalty" if cfg.gan_gradient_penalty else "spectral",
        }
        torch.manual_seed(cfg.seed)
        generator = Generator(settings)
        discriminator = Discriminator(settings)
        reader = realism.reader(pictures, ratings, seed=cfg.seed + 1)

        # One scale for data and output, and one for the ratings.
        clips = torch.tensor(pictures, dtype=torch.float32)
        mean = clips.mean()
        std = clips.std().clamp_min(1e-3)
        moods = torch.tensor(ratings, dtype=torch.float32)
        generator.scale.copy_(torch.stack([mean, std]))
        for net in (generator, discriminator):
            net.ratings.copy_(torch.stack([moods.mean(0), moods.std(0).clamp_min(1e-3)]))
            net.to(device)

        self.cfg = cfg
        self.folder = folder
        self.device = device
        self.generator = generator
        self.discriminator = discriminator
        self.reader = reader.requires_grad_(False)
        self.clips = ((clips - mean) / std).unsqueeze(1).to(device)
        self.ratings = moods.to(device)
        self.known = np.asarray(ratings, np.float32)  # the ratings, for drawing conditions
        self.moves = Adam(generator.parameters(), cfg.gan_lr, betas=BETAS)
        self.judges = Adam(discriminator.parameters(), cfg.gan_lr_discriminator, betas=BETAS)
        self.average = optim.Ema(cfg.gan_ema)
        self.history: list[dict[str, Any]] = []

        # The checkpoint is named by the settings and the clips.
        settings = config.decisive(cfg)
        recipe = {name: settings[name] for name in settings if name.startswith("gan_") or name == "seed"}
        sums = clips.double().sum().item(), clips.double().square().sum().item()
        key = config.digest(recipe, *sums, ratings.tolist())
        self.last = folder / "checkpoints" / f"gan-{key}" / "last.pth"

        # After every epoch the same noise and conditions show how varied its clips are.
        rng = default_rng([cfg.seed, 1])
        count = min(PROBES, len(clips))
        noise = self._noise(count, rng)
        self.probes = noise, self.ratings[rng.permutation(len(clips))[:count]]
        self.spread = self.clips.std(0).mean().item()

    def epoch(self) -> None:
        """One pass over the training clips, its judgement and its checkpoint."""
        clock = time.monotonic()
        # From seed and epoch alone, so that a resumed epoch repeats the same draws.
        rng = default_rng([self.cfg.seed, 2, len(self.history)])
        size = min(self.cfg.gan_batch, len(self.clips))
        order = from_numpy(rng.permutation(len(self.clips))).to(self.device)
        # Whole batches only: in the means a small last one would count as much as the others.
        batches = order.split(size)[: len(order) // size]
        losses = [self._judge(rows, rng) | self._move(rows, rng) for rows in batches]
        row = {"epoch": len(self.history) + 1}
        for name in losses[0]:
            row[name] = float(sum(loss[name] for loss in losses)) / len(losses)
        row["diversity"] = self._diversity()
        row["steps"] = self.average.steps
        row["seconds"] = time.monotonic() - clock
        self.history.append(row)
        self._refuse_collapse()
        average = self.average.steps, self.average.average
        state = {name: getattr(self, name).state_dict() for name in STATE}
        with files.replace(self.last) as temp:
            torch.save({"history": self.history, "average": average, **state}, temp)
            sealed.close(temp, sealed.ZIP)

    def _judge(self, rows: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
        """A step of the discriminator."""
        real = self.clips[rows]
        ratings = self.ratings[rows]
        penalty = self.cfg.gan_gradient_penalty
        with no_grad():
            composed = self.generator(self._noise(len(rows), rng), ratings)
        # The penalty needs the slope at the real clips; indexing has copied them, the store stays as it is.
        real.requires_grad_(penalty > 0)
        true = self.discriminator(real, ratings)
        false = self.discriminator(composed, ratings)
        loss = hinge = relu(1 - true).mean() + relu(1 + false).mean()
        if penalty:
            # create_graph, since the penalty is itself differentiated by the weights.
            (slope,) = torch.autograd.grad(true.sum(), real, create_graph=True)
            loss = hinge + penalty / 2 * slope.square().sum((1, 2, 3)).mean()
        _step(self.judges, loss)
        return {"d_loss": hinge.detach()}

    def _move(self, rows: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
        """A step of the generator."""
        generator = self.generator
        moods = from_numpy(conditions(self.known, len(rows), rng)).to(self.device, non_blocking=True)
        composed = generator(self._noise(len(rows), rng), moods)
        fooled = self.discriminator(composed, moods).mean()
        # Turned in time at random, as the clips that the reader was trained on were.
        shift = int(rng.integers(composed.shape[3]))
        heard = self.reader(torch.roll(generator.pictures(composed), shift, dims=2))
        reading = mse_loss(generator.standard(heard), generator.standard(moods))
        _step(self.moves, self.cfg.gan_condition_weight * reading - fooled)
        self.average.update(dict(generator.named_parameters()))
        return {"g_loss": -fooled.detach(), "reading": reading.detach()}

    def _noise(self, n: int, rng: np.random.Generator) -> Tensor:
        noise = from_numpy(rng.standard_normal((n, self.cfg.gan_latent), np.float32))
        return noise.to(self.device, non_blocking=True)

    def _diversity(self) -> float:
        """How much the probes differ from each other, as a share of how much the training clips do."""
        with self.average.applied(dict(self.generator.named_parameters())), no_grad():
            return self.generator(*self.probes).std(0).mean().item() / self.spread

    def _refuse_collapse(self) -> None:
        row = self.history[-1]
        judged = [epoch for epoch in self.history[WARM:] if epoch["steps"] > STEPS][-PATIENCE:]
        if not all(map(math.isfinite, row.values())):
            problem = "a loss is not finite"
        elif len(judged) == PATIENCE and all(map(_problem, judged)):
            problem = f"{_problem(row)}, {PATIENCE} epochs in a row"
        else:
            return
        raise Collapse(
            f"the GAN collapsed by epoch {row['epoch']}: {problem}. Nothing is composed with it. Lower "
            "gan_lr_discriminator (or raise gan_lr), set gan_gradient_penalty=0 (spectral norm), or try another SEED; "
            f"its course is in {self._write_history()}."
        )

    def _write_history(self) -> Path:
        return files.write_csv(DataFrame(self.history), self.folder / "gan_history.csv")

    def resume(self) -> None:
        """Takes up the last checkpoint of this very run, if there is one here or in an attached earlier output."""
        if not self.last.is_file():
            earlier = paths.earlier(self.last.relative_to(self.folder).as_posix(), self.folder)
            if not earlier:
                return
            files.write_bytes(self.last, earlier.read_bytes())
        state = weights.read(self.last)
        for name in STATE:
            getattr(self, name).load_state_dict(state[name])
        self.average.steps, average = state["average"]
        self.average.average = {name: tensor.to(self.device) for name, tensor in average.items()}
        self.history = state["history"]

    def finish(self) -> Fit:
        """Writes the averaged generator, the discriminator and the history."""
        self.generator.load_state_dict(self.average.average, strict=False)  # the rest are buffers
        for net, name in ((self.generator, "generator.pth"), (self.discriminator, "discriminator.pth")):
            with files.replace(self.folder / name) as temp:
                torch.save({"settings": net.settings, "weights": net.state_dict()}, temp)
                sealed.close(temp, sealed.ZIP)
        self._write_history()
        return Fit(self.generator.eval(), DataFrame(self.history))


def _step(optimizer: Adam, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _problem(epoch: dict[str, Any]) -> str:
    """What is wrong with the GAN after an epoch; "" if nothing is."""
    if epoch["diversity"] < DIVERSE:
        return f"its clips differ only {epoch['diversity']:.0%} as much as real ones"
    if epoch["d_loss"] < LOST:
        return f"its discriminator cannot be fooled any more (loss {epoch['d_loss']:.3f})"
    return ""
