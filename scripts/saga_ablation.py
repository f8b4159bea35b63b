"""Notebook 03 at more fractions of the edits and with more seeds, after 01 and 02: saga_ablation.py [name=JSON ...]

What 03 has trained already is taken up. Writes ablation.csv and ablation.png into 03's folder, under the name full_*.
"""

import sys

from emohelpers import config, report, saga
from emohelpers.config.faces import Augmented

settings = {"fractions": [0.0, 0.25, 0.5, 1.0], "seeds": [42, 43, 44], **config.assignments(sys.argv[1:])}
preset = settings.pop("preset", "auto")
run = report.begin("03_augmented_training", Augmented, preset, settings)
run.cfg = saga.with_combined_labels(run.cfg)
trainings = saga.train_fractions(run.cfg, run.faces(), run.folder)
table = trainings.ablation()
rows = table.rename(columns=lambda name: name.removeprefix("macro_f1_"))
rows["variant"] = rows["fraction"].map("{:.0%}".format)
run.table("full_ablation", table)
run.show("full_ablation", report.differences(rows, title="Macro F1, share of the edits against none"))
