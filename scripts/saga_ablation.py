"""Notebook 03 at more fractions of the edits and with more seeds, after 01 and 02: saga_ablation.py [name=JSON ...]

What 03 has trained already is taken up. Writes ablation.csv and ablation.png into 03's folder, under the name full_*.
"""

import json
import sys

from emohelpers import config
from emohelpers.config import files, paths
from emohelpers.report import limits
from emohelpers.saga import fractions
from emohelpers.train import study

given = {name: json.loads(value) for name, value in (text.split("=", 1) for text in sys.argv[1:])}
preset = given.pop("preset", "auto")
wide = {"fractions": [0.0, 0.25, 0.5, 1.0], "seeds": [42, 43, 44]}
cfg = fractions.located(config.make(config.Augmented, preset, **(wide | given)))
run = paths.run_folder("03_augmented_training", run=paths.run_name(cfg.preset), output_dir=cfg.output_dir)
faces = study.prepare(cfg)
arms = fractions.fit_all(cfg, faces, fractions.baseline(cfg, faces), run)
table = fractions.ablation(arms, faces.classes, cfg.bootstrap)
files.write_csv(table, run / "full_ablation.csv")
shown = table.rename(columns=lambda name: name.removeprefix("macro_f1_")).assign(
    variant=table["fraction"].map("{:.0%}".format)
)
demo = faces.dataset.demo
limits.differences(shown, run / "full_ablation.png", "Macro F1, share of the edits against none", demo=demo)
print(table.round(3).to_string(index=False))
