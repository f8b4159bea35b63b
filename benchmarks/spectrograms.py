"""Songs to mel spectrograms: our stage, a process a core, against the loop of librosa's documentation.

python benchmarks/spectrograms.py [SONGS]

Songs as DEAM's: mp3, 45 s, 44.1 kHz, stereo, played by code, each of them COPIES times; or those of a folder SONGS.
Both decode, mix, resample and transform the first 30 s with the seed's settings; ours also starts its processes, hashes
each file and writes the store. Wall time, since two cores are the point. Prints how far the two results are apart, and
which share of our work is decoding: no transform makes that faster.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import librosa
import numpy as np
import pandas as pd
import soundfile
from rounds import HERE, race, ratio, report

from emohelpers.datasets.drawn import songs as played
from emohelpers.music import sound, spectrograms

COUNT, COPIES, SECONDS, RATE = 16, 24, 45.0, 44100


def write(folder: Path) -> SimpleNamespace:
    """The songs."""
    names = []
    for row in played.plan(COUNT, 5, SECONDS):
        samples = librosa.resample(played.play(row | {"seconds": SECONDS}), orig_sr=played.RATE, target_sr=RATE)
        names.append(f"{row['song_id']}.mp3")
        soundfile.write(folder / names[-1], np.stack([samples, np.roll(samples, 20)], 1), RATE)
    copies = [f"{copy}-{name}" for copy in range(COPIES - 1) for name in names]
    for name in copies:
        shutil.copy(folder / name.partition("-")[2], folder / name)
    return of(folder, names + copies)


def of(folder: Path, names: list[str]) -> SimpleNamespace:
    """What `spectrograms.build` asks of a data set."""
    return SimpleNamespace(name="bench", root=folder, table=pd.DataFrame({"path": names}))


def main(folder: str) -> None:
    home, spectrum, made = Path(tempfile.mkdtemp()), sound.Spectrum(), {}
    own = sorted(Path(folder).resolve().rglob("*.mp3")) if folder else []
    data = of(Path(folder).resolve(), list(map(str, own))) if folder else write(home)
    assert len(data.table), f"no mp3 below {folder}"
    paths = [data.root / name for name in data.table["path"]]

    def ours() -> int:
        shutil.rmtree(home / "store", ignore_errors=True)
        made["ours"] = spectrograms.build(data, spectrum, home / "store", describe=False).array
        return len(paths)

    def plain() -> int:
        made["plain"] = []
        for path in paths:
            samples, rate = librosa.load(path, sr=22050, duration=30)
            powers = librosa.feature.melspectrogram(
                y=samples, sr=rate, n_fft=2048, hop_length=512, n_mels=128, fmin=20, fmax=8000
            )
            made["plain"].append(librosa.power_to_db(powers, ref=np.max))
        return len(paths)

    try:
        taken = race({"spectrograms.build": ours, "librosa loop": plain}, rounds=5, clock=time.perf_counter)
        apart = float(np.abs(np.asarray(made["ours"]) - np.stack(made["plain"])).max())
        started = time.process_time()
        clips = [sound.decode(path, spectrum)[0] for path in paths[:COUNT]]
        decoding, started = time.process_time() - started, time.process_time()
        for clip in clips:
            sound.mel(sound.power(clip, spectrum), spectrum)
        share = decoding / (decoding + time.process_time() - started)
    finally:
        shutil.rmtree(home)
    ratios = {"spectrograms.build over a librosa loop, wall": ratio(taken, "spectrograms.build", "librosa loop")}
    name = "spectrograms_own" if folder else "spectrograms"
    report(name, taken, ratios, "song")
    print(f"  largest difference {apart:.1e} dB; decoding and resampling are {share:.0%} of our work")
    kept = HERE / "results" / f"{name}.json"
    facts = {"songs": len(paths), "largest_difference_db": apart, "decoding_share": share}
    kept.write_text(json.dumps(json.loads(kept.read_text()) | facts, indent=1) + "\n")
    assert apart < 1e-3, "the two are not the same spectrograms"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "songs", nargs="?", default="", help="a folder of mp3 files in the place of those played by code"
    )
    main(parser.parse_args().songs)
