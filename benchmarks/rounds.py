"""Interleaved rounds: every contender once a round, in changing order, so that a busy moment hits all alike."""

import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def race(
    contenders: dict[str, Callable[[], int]], rounds: int = 7, seed: int = 0, clock: Callable = time.process_time
) -> dict[str, list[float]]:
    """Seconds per unit of work; each contender returns how many units it did.

    CPU seconds of all threads of this process, or by another `clock` (`time.perf_counter` where cores are the point).
    """
    dice, taken = random.Random(seed), {name: [] for name in contenders}
    for run in contenders.values():
        run()  # warm-up, not counted
    for _ in range(rounds):
        for name in dice.sample(list(contenders), len(contenders)):
            started = clock()
            units = contenders[name]()
            taken[name].append((clock() - started) / units)
    return taken


def ratio(taken: dict[str, list[float]], ours: str, peer: str) -> dict[str, float]:
    """How many times less CPU time `ours` takes than `peer`: median over rounds, and a 95 % bootstrap interval."""
    each = np.array(taken[peer]) / np.array(taken[ours])
    drawn = np.median(np.random.default_rng(0).choice(each, (5000, len(each))), axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"ratio": float(np.median(each)), "low": float(low), "high": float(high), "rounds": len(each)}


def report(name: str, taken: dict[str, list[float]], ratios: dict[str, dict[str, float]], unit: str) -> None:
    """Prints the table and keeps the figures in benchmarks/results/<name>.json."""
    print(f"\n{name}: time per {unit}, median of {len(next(iter(taken.values())))} interleaved rounds")
    for who, seconds in taken.items():
        print(f"  {who:<44} {statistics.median(seconds) * 1e6:>10.1f} us {1 / statistics.median(seconds):>10.0f} /s")
    for who, r in ratios.items():
        print(f"  {who:<44} {r['ratio']:>10.3f} x   [{r['low']:.3f}, {r['high']:.3f}]")
    made = {"unit": unit, "seconds": taken, "ratios": ratios, "machine": platform.processor() or platform.machine()}
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{name}.json").write_text(json.dumps(made, indent=1) + "\n")
