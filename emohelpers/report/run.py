"""One run of a notebook: its settings, its folder, and what it leaves there. Everything else works on plain values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure
from pandas import DataFrame

from emohelpers import config, models
from emohelpers.config import files, locks, paths
from emohelpers.datasets.faces import write_unreadable
from emohelpers.models import devices
from emohelpers.report import facts, forms, interactive, parameters, readiness, style
from emohelpers.train import Fit, study


class Run:
    """Knows the folder, the settings, the data and whether it is demo data. Only a run writes what a notebook shows.

    Attributes:
        stem: of the notebook, which is the name of its folder as well.
        cfg: the settings.
        folder: where the results go.
        data: what the run is about, anything with a `name` and a `demo`; set by `faces` and by each room's own reader.
    """

    def __init__(self, stem: str, cfg: Any, folder: Path) -> None:
        self.stem = stem
        self.cfg = cfg
        self.folder = folder
        self.data: Any = None

    @property
    def name(self) -> str:
        """The pass of the suite that this run belongs to, for example "demo"."""
        return paths.run_name(self.cfg.preset)

    @property
    def demo(self) -> str:
        """What demo data is shown, "" for real data; it stands in every figure's title."""
        kind = getattr(self.data, "demo", "")
        return "drawn faces" if kind is True else kind or ""

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def faces(self) -> study.Faces:
        """The config's faces, decoded, split and guarded; keeps the golden set and the parts, and prints what it did.

        Raises:
            ManifestError, SplitError: with all problems at once, before any training.
        """
        faces = study.prepare(self.cfg)
        self.data = faces.dataset
        faces.golden.save(self.folder)
        files.write_csv(faces.table, self / "splits.csv")
        write_unreadable(self / "unreadable.csv", faces.dataset.unreadable)
        print(faces.dataset.title, *faces.notes, sep="\n- ")
        return faces

    def earlier(self, faces: study.Faces) -> Path | None:
        """The predictions of the notebook that `compare_with` names, seen to be of this golden set; None: none.

        Raises:
            InputNotFound, PredictionError: not there, or of another golden set, with the remedy, before any training.
            TrainingError: its model was trained on pictures that are golden today.
        """
        predictions = forms.earlier(self.cfg, self.name, faces.part("golden"))
        if predictions:
            try:
                checkpoint = models.newest(predictions.parent)
            except FileNotFoundError as error:
                print(f"Whether the model that is compared with knows golden faces cannot be checked: {error}")
            else:
                study.refuse_trained_on(models.load(checkpoint), faces, checkpoint)
        return predictions

    def read(self, name: str) -> DataFrame:
        """A table that was kept in the folder, such as steps.csv."""
        return pd.read_csv(self / name)

    def curves_page(self, name: str, history: DataFrame, title: str) -> None:
        """Writes the history as a page whose curves can be pointed at."""
        files.write_text(self / name, interactive.page(history, self.title(title)))

    def title(self, text: str) -> str:
        """`text`, with "demo data" behind it where that is so."""
        demo = f"demo data ({self.demo})" if self.demo else ""
        return " · ".join(part for part in (text, demo) if part)

    def picture(self, name: str, figure: Figure) -> None:
        """Writes `figure` as `<name>.png`, with "demo data" in its title where that is so."""
        if text := self.title(figure.get_suptitle()):
            with style.house():
                figure.suptitle(text, x=0.01, ha="left", color=style.INK)
        style.save(figure, self / f"{name}.png")

    def show(self, name: str, figure: Figure) -> None:
        """Writes `figure` as `picture` does, and shows it."""
        self.picture(name, figure)
        display(figure)

    def table(self, name: str, table: DataFrame, *, index: bool = False, digits: int = 3) -> None:
        """Writes `table` as `<name>.csv` and shows it, rounded."""
        files.write_csv(table, self / f"{name}.csv", index=index)
        display(table.round(digits))

    def text(self, name: str, text: str) -> None:
        """Writes `text` as the file `name` and prints it."""
        files.write_text(self / name, text + "\n")
        print(text)

    def save(self, figures: Mapping[str, Any], *, split: str, seconds: float, **context: Any) -> None:
        """Writes metrics.json: the figures and what they stand on.

        Args:
            figures: each `{"value", "low", "high", "n"}`.
            split: hash of the split or golden set.
            seconds: wall time of the training.
            context: anything else worth keeping, such as `best_epoch=7`; tables become lists of rows.
        """
        plain = {name: _plain(value) for name, value in context.items()}
        named = {"data": self.data.name, "demo": bool(self.demo), "split": split, "seconds": seconds}
        facts.save_metrics(self.folder, figures, **named, **plain)

    def conclude(
        self, figures: Mapping[str, Any], fit: Fit, faces: study.Faces, classes: DataFrame, **context: Any
    ) -> None:
        """Writes metrics.json of a classifier and prints what the run showed, in sentences that follow from it.

        Args:
            figures: of `metrics.classification`, on the golden set.
            classes: of `metrics.per_class`.
            context: anything else worth keeping.
        """
        self.save(
            figures,
            split=faces.golden.sha256,
            protocol=faces.golden.protocol,
            counts=faces.counts(),
            leaks=len(faces.leaks.removed),
            status=fit.status,
            best_epoch=fit.best["epoch"],
            parameters=models.count(fit.model),
            peak_memory_gb=fit.peak_memory_gb,
            seconds=fit.seconds,
            per_class=classes,
            **context,
        )
        facts.learned(figures, classes, demo=bool(self.demo), status=fit.status)

    def receipt(self, counts: Mapping[str, int], classes: Any, leaks: int, **within: tuple[float, ...]) -> None:
        """Prints the lines that are the same on every machine, and proves that each promised file is there.

        What a notebook promises stands once: in the `writes` of its config. `within` gives figures as value, low and
        high; the underscores of a name become blanks.
        """
        bands = {name.replace("_", " "): band for name, band in within.items()}
        written = type(self.cfg).writes
        facts.receipt(self.folder, counts=counts, classes=classes, leaks=leaks, files=written, within=bands)
        locks.release(self.folder)


def _plain(value: Any) -> Any:
    """Tables as JSON has them: class counts by column, any other table as a list of rows."""
    if isinstance(value, DataFrame):
        return value.to_dict() if value.index.name == "class" else value.to_dict("records")
    return value


def begin(stem: str, kind: type, preset: str, overrides: Any, /, **values: Any) -> Run:
    """Starts the run of a notebook: makes the settings, proves the folder, keeps and prints both.

    Args:
        stem: of the notebook, "01_baseline_training".
        kind: its config class.
        preset: "auto", "demo" or "full".
        overrides: any setting by name, a mapping or YAML; they win over `values`, the notebook's other parameters.

    Raises:
        ConfigError: every wrong setting at once, or a name that papermill passed and that nothing would read.
        PermissionError: the results folder cannot be written, with the remedy.
        SuiteError: card, room, data, weights or earlier results are missing, see `readiness.check`.
        Busy: another run is at work in it.
    """
    settings = values | parameters.injected(kind) | parameters.overrides(overrides)
    cfg = config.make(kind, preset, **settings)
    folder = paths.claimed(paths.run_folder(stem, run=paths.run_name(cfg.preset), output_dir=cfg.output_dir))
    files.write_json(folder / "config.json", cfg.model_dump(mode="json"))
    print(cfg)
    readiness.check(cfg)
    precision = devices.precision(getattr(cfg, "precision", "auto"))
    number = "fp32" if precision == "no" else precision  # accelerate's word for no mixed precision
    print(f"{facts.device_name()}, computes in {number}; results in {folder}")
    return Run(stem, cfg, folder)
