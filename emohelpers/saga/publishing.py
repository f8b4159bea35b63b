"""What leaves notebook 02: the combined table, and the accepted edits with their own table, as a folder and a zip."""

import zipfile
from collections.abc import Collection
from pathlib import Path

from pandas import DataFrame

from emohelpers.config import files, paths
from emohelpers.datasets import edits as combined
from emohelpers.datasets import lineage, pixels
from emohelpers.datasets.edits import Combined
from emohelpers.saga.generation import Edits

ZIP = "augmented_affectnet_dataset.zip"  # seed 000
EXTRA = ("prompt_sha256", "sha256", "ssim", "clip", "p_target", "identity")  # columns beside seed 000's


def combine(edits: Edits, faces, cfg, folder: str | Path) -> Combined:
    """Photographs and accepted edits in one table, after the leak guard; writes it and what `publish` does."""
    dataset = combined.add(faces.dataset, edits.accepted, edits.root)
    everything = pixels.build(dataset, faces.pixels.side, paths.cache_folder() / "pixels")
    table = combined.combine(dataset, everything, faces.table, cfg)
    table.save(folder, faces.classes)
    publish(edits, table.table["filepath"], folder)
    return table


def publish(edits: Edits, clean: Collection[str], folder: str | Path) -> Path:
    """Writes `augmented_labels.csv`, beside the pictures and in `folder`, and the zip of accepted edits; returns that.

    Args:
        clean: those that may be trained on: what `combine` kept, no children of golden and validation faces.
    """
    rows = edits.table[edits.table["accepted"] & edits.table["path"].isin(set(clean))]
    source = dict(zip(lineage.COLUMNS, ("parent", "original_label", "label", "path"), strict=False))
    table = DataFrame({column: rows[name] for column, name in source.items()})
    table["augmentation_type"] = edits.editor
    table = table.join(rows[[name for name in EXTRA if name in rows]])
    files.write_csv(table, edits.root / lineage.TABLE)
    files.write_csv(table, Path(folder) / lineage.TABLE)
    target = Path(folder) / ZIP
    with files.replace(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:  # pictures are packed already
        for name in (lineage.TABLE, *sorted(rows["path"])):
            archive.write(edits.root / name, f"{combined.FOLDER}/{name}")
    return target
