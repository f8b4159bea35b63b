"""Songs to mel spectrograms: our stage, several songs at a time, against the loop of librosa's documentation.

Songs as DEAM's: mp3, 45 s, 44.1 kHz, stereo, played by code. Both decode, mix, resample and transform the first 30 s
with the seed's settings; ours also hashes the file and writes the store. Wall time, since two cores are the point.
Prints how far the two results are apart, and which share of our work is decoding: no transform makes that faster.
"""

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

from emohelpers import audio
from emohelpers.demo import songs as played

COUNT, SECONDS, RATE = 16, 45.0, 44100


def write(folder: Path) -> SimpleNamespace:
    """The songs, and what `spectrograms.build` asks of a data set."""
    names = []
    for row in played.plan(COUNT, 5, SECONDS):
        samples = librosa.resample(played.play(row | {"seconds": SECONDS}), orig_sr=played.RATE, target_sr=RATE)
        names.append(f"{row['song_id']}.mp3")
        soundfile.write(folder / names[-1], np.stack([samples, np.roll(samples, 20)], 1), RATE)
    return SimpleNamespace(name="bench", root=folder, table=pd.DataFrame({"path": names}))


def main() -> None:
    home, spectrum = Path(tempfile.mkdtemp()), audio.Spectrum()
    data, made = write(home), {}

    def ours() -> int:
        shutil.rmtree(home / "store", ignore_errors=True)
        made["ours"] = audio.build(data, spectrum, home / "store", describe=False).array
        return COUNT

    def plain() -> int:
        made["plain"] = []
        for name in data.table["path"]:
            samples, rate = librosa.load(home / name, sr=22050, duration=30)
            powers = librosa.feature.melspectrogram(
                y=samples, sr=rate, n_fft=2048, hop_length=512, n_mels=128, fmin=20, fmax=8000
            )
            made["plain"].append(librosa.power_to_db(powers, ref=np.max))
        return COUNT

    try:
        taken = race({"audio.build": ours, "librosa loop": plain}, clock=time.perf_counter)
        apart = float(np.abs(np.asarray(made["ours"]) - np.stack(made["plain"])).max())
        paths, started = [home / name for name in data.table["path"]], time.process_time()
        clips = [audio.decode(path, spectrum)[0] for path in paths]
        decoding, started = time.process_time() - started, time.process_time()
        for clip in clips:
            audio.mel(audio.power(clip, spectrum), spectrum)
        share = decoding / (decoding + time.process_time() - started)
    finally:
        shutil.rmtree(home)
    ratios = {"audio.build over a librosa loop, wall": ratio(taken, "audio.build", "librosa loop")}
    report("spectrograms", taken, ratios, "song")
    print(f"  largest difference {apart:.1e} dB; decoding and resampling are {share:.0%} of our work")
    kept = HERE / "results" / "spectrograms.json"
    found = json.loads(kept.read_text()) | {"largest_difference_db": apart, "decoding_share": share}
    kept.write_text(json.dumps(found, indent=1) + "\n")
    assert apart < 1e-3, "the two are not the same spectrograms"


if __name__ == "__main__":
    main()
