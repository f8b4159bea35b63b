"""Trains a conditional GAN that composes spectrograms for a wanted valence and arousal, and says so when it collapses.

Data and output share one scale (standardised by the training part, no Tanh). The discriminator is kept smooth by
spectral norm or by a gradient penalty on real clips (Mescheder et al., arXiv 1801.04406). A reader that has learned
valence and arousal from real training clips rewards the generator where its own can be read. Two rates (TTUR, Heusel et
al., arXiv 1706.08500), hinge loss, averaged weights.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from emohelpers import config
from emohelpers.config import files, paths
from emohelpers.models import devices
from emohelpers.music import realism
from emohelpers.music.composer import Composed, Discriminator, Generator, compose, conditions, load
from emohelpers.train import optim

__all__ = ["Collapse", "Composed", "Fit", "compose", "fit", "load"]

SETTINGS = ("shape", "latent", "width", "regulariser")
PROBES = 64  # clips composed after every epoch from the same noise and conditions
DIVERSE = 0.3  # of the training clips' spread: below, the composed ones are (nearly) all alike
LOST = 0.02  # hinge loss of a discriminator that nothing can fool any more; about 1 to 2 where the two are matched
PATIENCE = 4  # epochs in a row that make a collapse
WARM, STEPS = 6, 150  # epochs and steps at the start that are not judged: clips begin alike and grow apart


class Collapse(RuntimeError):
    """The generator makes nearly one clip only, or the discriminator cannot be fooled any more; with the remedy."""


@dataclass(frozen=True)
class Fit:
    """What came out of the training."""

    generator: Generator  # with averaged weights
    history: pd.DataFrame  # one row an epoch
    seconds: float
    files: tuple[Path, Path]  # generator.pth, discriminator.pth


def fit(pictures: np.ndarray, ratings: np.ndarray, cfg, folder: str | Path, *, quiet: bool = False) -> Fit:
    """Trains both nets on training clips alone; killed and called again it goes on, on a CPU to the same bits.

    Args:
        pictures: (n, *cfg.gan_shape) in 0..1, of `audio.pictures`. ratings: (n, 2) on -1..1.
        cfg: the `gan_...` settings of `recipes.Music`.
        folder: gets generator.pth, discriminator.pth, gan_history.csv and checkpoints/gan-<run>/last.pth.

    Raises:
        Collapse: seen over several epochs in a row; nothing is composed with such a generator.
    """
    run = _Run(pictures, ratings, cfg, Path(folder), quiet)
    run.resume()
    while len(run.history) < cfg.gan_epochs:
        run.epoch()
    return run.finish()


class _Run:
    """State of one training between its epochs."""

    def __init__(self, pictures: np.ndarray, ratings: np.ndarray, cfg, folder: Path, quiet: bool):
        if devices.device().type == "cpu":
            devices.keep_memory()
        self.device = devices.device()
        self.cfg, self.folder = cfg, folder
        settings = {name: getattr(cfg, f"gan_{name}") for name in SETTINGS}
        settings["shape"] = list(settings["shape"])
        torch.manual_seed(cfg.seed)
        self.generator, self.discriminator = Generator(settings), Discriminator(settings)
        self.reader = realism.reader(pictures, ratings, seed=cfg.seed + 1).net.requires_grad_(False)
        clips = torch.from_numpy(np.asarray(pictures, np.float32))
        self.ratings = torch.from_numpy(np.asarray(ratings, np.float32)).to(self.device)
        scale = torch.stack([clips.mean(), clips.std().clamp_min(1e-3)])
        self.clips = ((clips - scale[0]) / scale[1]).unsqueeze(1).to(self.device)
        about = torch.stack([self.ratings.mean(0), self.ratings.std(0).clamp_min(1e-3)])
        self.generator.scale.copy_(scale)
        for net in (self.generator, self.discriminator):
            net.ratings.copy_(about)
            net.to(self.device)
        betas = (0.0, 0.9)
        self.moves = torch.optim.Adam(self.generator.parameters(), cfg.gan_lr, betas=betas)
        self.judges = torch.optim.Adam(self.discriminator.parameters(), cfg.gan_lr_discriminator, betas=betas)
        self.average = optim.Ema(cfg.gan_ema)
        wanted = {name: value for name, value in cfg if name.startswith("gan_") or name == "seed"}
        key = config.digest(wanted, clips.double().sum().item(), clips.double().square().sum().item(), ratings.tolist())
        self.last = folder / "checkpoints" / f"gan-{key}" / "last.pth"
        rng = np.random.default_rng([cfg.seed, 1])
        n = min(PROBES, len(clips))
        self.probes = (self._noise(n, rng), self.ratings[torch.from_numpy(rng.permutation(len(clips))[:n])])
        self.spread = float(self.clips.std(0).mean())
        self.history: list[dict[str, Any]] = []
        self.bar = tqdm(total=cfg.gan_epochs, desc="GAN", unit="epoch", mininterval=2, disable=quiet)

    def epoch(self) -> None:
        """One pass over the training clips, its judgement and its checkpoint."""
        number, cfg = len(self.history), self.cfg
        clock = pd.Timestamp.now()
        rng = np.random.default_rng([cfg.seed, 2, number])
        size, sums = min(cfg.gan_batch, len(self.clips)), {}
        order = torch.from_numpy(rng.permutation(len(self.clips)))
        batches = [order[i : i + size] for i in range(0, len(order) - size + 1, size)]
        for at in batches:
            for name, value in (self._judge(at, rng) | self._move(at, rng)).items():
                sums[name] = sums.get(name, 0) + value
        row = {"epoch": number + 1} | {name: float(value) / len(batches) for name, value in sums.items()}
        row |= {"diversity": self._diversity(), "steps": self.average.steps}
        row["seconds"] = (pd.Timestamp.now() - clock).total_seconds()
        self.history.append(row)
        self.bar.update()
        self._check()
        state = {"history": self.history, "average": (self.average.steps, self.average.average)}
        for name in ("generator", "discriminator", "moves", "judges"):
            state[name] = getattr(self, name).state_dict()
        with files.replace(self.last) as temp:
            torch.save(state, temp)

    def _judge(self, at: torch.Tensor, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """A step of the discriminator."""
        real, wanted = self.clips[at], self.ratings[at]
        with torch.no_grad():
            made = self.generator(self._noise(len(at), rng), wanted)
        penalty = self.cfg.gan_regulariser == "penalty"
        real.requires_grad_(penalty)
        true, false = self.discriminator(real, wanted), self.discriminator(made, wanted)
        loss = hinge = F.relu(1 - true).mean() + F.relu(1 + false).mean()
        if penalty:
            (slope,) = torch.autograd.grad(true.sum(), real, create_graph=True)
            loss = loss + self.cfg.gan_penalty / 2 * slope.square().sum((1, 2, 3)).mean()
        self.judges.zero_grad()
        loss.backward()
        self.judges.step()
        return {"d_loss": hinge.detach()}

    def _move(self, at: torch.Tensor, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """A step of the generator."""
        wanted = self._conditions(len(at), rng)
        made = self.generator(self._noise(len(at), rng), wanted)
        score = self.discriminator(made, wanted)
        turned = torch.roll(self.generator.pictures(made), int(rng.integers(made.shape[3])), dims=2)
        reading = F.mse_loss(self._standard(self.reader(turned)), self._standard(wanted))
        self.moves.zero_grad()
        (self.cfg.gan_condition_weight * reading - score.mean()).backward()
        self.moves.step()
        self.average.update(dict(self.generator.named_parameters()))
        return {"g_loss": -score.mean().detach(), "reading": reading.detach()}

    def _standard(self, ratings: torch.Tensor) -> torch.Tensor:
        return (ratings - self.generator.ratings[0]) / self.generator.ratings[1]

    def _noise(self, n: int, rng: np.random.Generator) -> torch.Tensor:
        drawn = rng.standard_normal((n, self.cfg.gan_latent), np.float32)
        return torch.from_numpy(drawn).to(self.device)

    def _conditions(self, n: int, rng: np.random.Generator) -> torch.Tensor:
        drawn = conditions(self.ratings.cpu().numpy(), n, rng, self.cfg.gan_conditions)
        return torch.from_numpy(drawn).to(self.device)

    def _diversity(self) -> float:
        """How much the probes differ from each other, as a share of how much the training clips do."""
        with self.average.applied(dict(self.generator.named_parameters())), torch.no_grad():
            return float(self.generator(*self.probes).std(0).mean()) / self.spread

    def _check(self) -> None:
        late = [row for row in self.history[WARM:] if row["steps"] > STEPS][-PATIENCE:]
        row = self.history[-1]
        alike, lost = (row["diversity"] < DIVERSE), (row["d_loss"] < LOST)
        broken = not all(math.isfinite(value) for value in row.values())
        if broken or (len(late) == PATIENCE and all(r["diversity"] < DIVERSE or r["d_loss"] < LOST for r in late)):
            what = "a loss is not finite" if broken else (
                f"its clips differ only {row['diversity']:.0%} as much as real ones" if alike else
                f"its discriminator cannot be fooled any more (loss {row['d_loss']:.3f})" if lost else "it wavers"
            )  # fmt: skip
            raise Collapse(
                f"the GAN collapsed by epoch {row['epoch']}: {what}, {PATIENCE} epochs in a row. Nothing is composed "
                "with it. Lower gan_lr_discriminator (or raise gan_lr), set gan_regulariser='spectral', or try another "
                f"SEED; its course is in {self._write_history()}."
            )

    def _write_history(self) -> Path:
        return files.write_csv(pd.DataFrame(self.history), self.folder / "gan_history.csv")

    def resume(self) -> None:
        """Takes up the last checkpoint of this very run, if there is one here or in an attached earlier output."""
        if not self.last.is_file():
            found = paths.earlier(self.last.relative_to(self.folder).as_posix(), self.folder)
            if not found:
                return
            files.write_bytes(self.last, found.read_bytes())
        state = torch.load(self.last, map_location=self.device, weights_only=True)
        for name in ("generator", "discriminator", "moves", "judges"):
            getattr(self, name).load_state_dict(state[name])
        self.average.steps, self.average.average = state["average"]
        self.history = state["history"]
        self.bar.update(len(self.history))

    def finish(self) -> Fit:
        """Writes the averaged generator, the discriminator and the history."""
        self.bar.close()
        with torch.no_grad():
            for name, parameter in self.generator.named_parameters():
                parameter.copy_(self.average.average[name])
        places = self.folder / "generator.pth", self.folder / "discriminator.pth"
        for place, net in zip(places, (self.generator, self.discriminator), strict=True):
            with files.replace(place) as temp:
                torch.save({"settings": net.settings, "weights": net.state_dict()}, temp)
        self._write_history()
        history = pd.DataFrame(self.history)
        return Fit(self.generator.eval(), history, float(history["seconds"].sum()), places)
