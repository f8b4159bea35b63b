"""What the rows of a data set mean, and what is wrong with them: labels, splits, repeats, groups, classes."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from emohelpers.datasets import labels
from emohelpers.datasets.locate import SPLITS, ManifestError, fold
from emohelpers.datasets.manifest import Manifest, meaning, needs_order
from emohelpers.datasets.tables import Rows


def read_labels(manifest: Manifest, rows: Rows) -> None:
    """Turns labels as written into emotions; rows that the manifest leaves out, or nobody knows, are taken away.

    Raises:
        ManifestError: no row has a known label.
    """
    understand, meant, unknown = meaning(manifest), {}, []
    counts = Counter(rows.frame["label"])
    for text in counts:
        try:
            emotion = understand(text)
        except labels.UnknownLabel:
            unknown.append(text)
            continue
        if emotion is None:
            rows.notes.append(f"{counts[text]:,} rows labelled {text!r} were left out, as the manifest says")
        elif manifest.classes and emotion not in manifest.classes:
            unknown.append(text)
        else:
            meant[text] = emotion
    numbers = sorted(text for text in unknown if needs_order(manifest, text))
    if numbers:
        rows.problems.append(
            f"{rows.where} has integer labels ({', '.join(numbers[:10])}) and the manifest {manifest.name} "
            f"declares no order for them. Several are in use and guessing is forbidden. Write into its YAML\n"
            f"{_orders()}\n"
            "     or a mapping of your own: labels: {0: happy, 1: sad, ...}"
        )
    if names := sorted(set(unknown) - set(numbers), key=lambda text: -counts[text]):
        listed = ", ".join(f"{text or '(empty)'!r} ({counts[text]:,} rows)" for text in names[:10])
        own = f"; declared in its YAML: {', '.join(manifest.labels)}" if isinstance(manifest.labels, dict) else ""
        rows.problems.append(
            f"{len(names)} unknown labels in {rows.where}: {listed}. "
            f"Classes: {', '.join(manifest.classes or labels.EMOTIONS)}; spellings: {', '.join(labels.ALIASES)}{own}. "
            "Correct the table, or say in the manifest's YAML what they mean: "
            "labels: {<label>: <emotion>, <label to leave out>: null}"
        )
    label = rows.frame["label"].map(meant)
    if not meant:
        listed = "\n".join(f"  {i}. {text}" for i, text in enumerate(rows.problems, 1))
        raise ManifestError(f"{manifest.title or manifest.name} has no row with a known label:\n{listed}")
    rows.frame = rows.frame.assign(label=label)[label.notna()].reset_index(drop=True)


def _orders() -> str:
    return "\n".join(
        f"       labels: {name:<18} # " + " ".join(f"{i}={emotion}" for i, emotion in enumerate(order) if emotion)
        for name, order in labels.ORDERS.items()
    )


def split_of(manifest: Manifest, text: str) -> str | None:
    """train, val, test or "" for the data set's own word, None for an unknown one."""
    own = {fold(word): split for word, split in manifest.splits.items()}
    return {"": "", **SPLITS, **own}.get(fold(text.strip()))


def read_splits(manifest: Manifest, rows: Rows) -> None:
    """Turns the data set's own words into train, val, test."""
    words = Counter(rows.frame["split"])
    meant = {word: split_of(manifest, word) for word in words}
    if unknown := [word for word in words if meant[word] is None]:
        listed = ", ".join(f"{word!r} ({words[word]:,} rows)" for word in unknown[:5])
        rows.problems.append(
            f"unknown splits in {rows.where}: {listed}; known: {', '.join(SPLITS)}. "
            f"Say in the manifest's YAML what they are, e.g. splits: {{{unknown[0]}: train}}"
        )
    rows.frame["split"] = rows.frame["split"].map({word: split or "" for word, split in meant.items()})


def drop_repeats(rows: Rows) -> None:
    """Leaves one row a picture: repeated rows are a note, contradicting ones a problem."""
    table = rows.frame
    again = table["path"].duplicated(keep=False)
    if not again.any():
        return
    told = table[again].groupby("path")["label"].agg(lambda names: " / ".join(dict.fromkeys(names)))
    conflict = told[told.str.contains("/", regex=False)]
    if len(conflict):
        example = "; ".join(f"{path} is {names}" for path, names in conflict.iloc[:3].items())
        rows.problems.append(
            f"{len(conflict):,} pictures stand in {rows.where} with different labels: {example}. Keep one row of each"
        )
    rows.notes.append(f"{int(table['path'].duplicated().sum()):,} repeated rows of {rows.where} were dropped")
    rows.frame = table.drop_duplicates("path").reset_index(drop=True)


def groups(manifest: Manifest, rows: Rows) -> list[str]:
    """A name a row: rows joined by an equal stem, an equal group column or a parent, over any number of steps."""
    table, keys = rows.frame, []
    if manifest.group.stem:
        stems = [path.rsplit("/", 1)[-1].rsplit(".", 1)[0] for path in table["path"]]
        strip = re.compile(manifest.group.strip)
        keys.append([strip.sub("", stem) or stem for stem in stems] if manifest.group.strip else stems)
    if absent := [name for name in manifest.group.columns if name not in table.columns]:
        raise ManifestError(
            f"{rows.where} has no column {absent[0]!r}, by which the manifest {manifest.name} groups (group.columns)"
        )
    keys += [list(table[name]) for name in ("{group}", *manifest.group.columns) if name in table.columns]
    keys.append([parent or path for parent, path in zip(table["parent"], table["path"], strict=True)])
    return joined(list(table["path"]), keys)


def joined(paths: Sequence[str], keys: Iterable[Sequence[str]], pairs: np.ndarray | None = None) -> list[str]:
    """The first path of each row's group: rows with an equal value of a key, or in a pair, over any number of steps.

    Args:
        keys: each a value a row; an empty one joins nothing.
        pairs: (m, 2) positions of rows that belong together.
    """
    edges, nodes = [np.empty((2, 0), int) if pairs is None else pairs.T], len(paths)
    for values in keys:
        code, known = pd.factorize(np.array(values, dtype=object))
        filled = np.array([value != "" for value in values])
        # A row is a node, and so is each value of each key.
        edges.append(np.stack([np.flatnonzero(filled), nodes + code[filled]]))
        nodes += len(known)
    ends = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(nodes, nodes))
    part = connected_components(graph, directed=False)[1][: len(paths)]
    first = {p: path for path, p in sorted(zip(paths, part, strict=True), reverse=True)}
    return [first[p] for p in part]


def agreement(manifest: Manifest, table: pd.DataFrame) -> list[str]:
    """A note of how often a picture's folder says the same as its label, overall and for the worst folder."""
    understand = meaning(manifest)

    def emotion(folder: str) -> str | None:
        try:
            return understand(folder)
        except labels.UnknownLabel:
            return None

    folders = pd.Series([path.split("/")[-2] if "/" in path else "" for path in table["path"]])
    folders = folders.map({name: emotion(name) for name in set(folders)})
    told = folders.notna()
    if told.mean() < 0.5:  # folders that are no labels
        return []
    same = (folders == table["label"])[told]
    by_folder = same.groupby(folders[told]).mean()
    text = f"label and folder agree on {same.mean():.1%} of {int(told.sum()):,} rows"
    if not same.all():
        text += f", worst for folder {by_folder.idxmin()} with {by_folder.min():.0%}; the label is used, not the folder"
    return [text]


def class_problems(table: pd.DataFrame, classes: tuple[str, ...]) -> list[str]:
    """Classes without pictures, or with fewer independent ones than there are parts of a split."""
    count = table.groupby("label")["group"].nunique()
    empty = [name for name in classes if name not in count.index]
    few = [f"{name} has {count[name]}" for name in classes if 0 < count.get(name, 0) < 3]
    problems = []
    if empty:
        problems.append(
            f"no picture of {', '.join(empty)}, although the manifest lists the class: add pictures, "
            "or list only the classes you have (classes: [...] in the YAML)"
        )
    if few:
        problems.append(
            f"too few independent pictures to split: {'; '.join(few)}, and training, validation and golden set need "
            "one each. Add pictures, or leave the class out (labels: {<label>: null} in the manifest's YAML)"
        )
    return problems


def as_numbers(values: pd.Series) -> pd.Series:
    """A kept column as numbers where everything that is filled in is one, else as it is."""
    if pd.api.types.is_numeric_dtype(values):
        return values
    numbers = pd.to_numeric(values.mask(values == ""), errors="coerce")
    return numbers if (numbers.isna() == (values == "")).all() else values
