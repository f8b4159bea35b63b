"""Which of two ONNX files answers faster: both in turn, so that whatever else the machine does meets both."""

import time
from pathlib import Path

import numpy as np

from emohelpers.export.runner import Runner

PAUSE = 0.02  # seconds before each answer: the other net's threads spin for a while before they rest
WARM_UP = 3  # rounds that do not count
RESAMPLES = 1000  # behind the interval


def race(source: str | Path, candidate: str | Path, *, threads: int, rounds: int = 40) -> dict[str, float]:
    """How many times faster `candidate` answers: both in turn, in changing order; median over rounds, 95 % interval."""
    runners = [Runner(path, threads=threads) for path in (source, candidate)]
    side = runners[0].preprocess.img_size
    rng = np.random.default_rng(0)
    pictures = rng.standard_normal((1, 3, side, side), dtype=np.float32)
    seconds = np.zeros((WARM_UP + rounds, 2))  # a round; source, candidate
    for row in seconds:
        for entrant in rng.permutation(2):
            time.sleep(PAUSE)
            started = time.perf_counter()
            runners[entrant].raw(pictures)
            row[entrant] = time.perf_counter() - started
    of_source, of_candidate = seconds[WARM_UP:].T
    ratios = of_source / of_candidate
    medians = np.median(rng.choice(ratios, (RESAMPLES, rounds)), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    milliseconds = 1e3 * float(np.median(of_candidate))
    return {"ratio": float(np.median(ratios)), "low": float(low), "high": float(high), "milliseconds": milliseconds}
