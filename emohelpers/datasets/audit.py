"""What the rows of a data set mean, and what is wrong with them: labels, splits, repeats, groups, classes."""

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy import ndarray
from pandas import DataFrame, Series
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from emohelpers.datasets import labels
from emohelpers.datasets.layouts import Manifest
from emohelpers.datasets.locate import SPLITS, ManifestError
from emohelpers.datasets.problems import numbered
from emohelpers.datasets.rows import Rows
from emohelpers.datasets.spelling import unified, word
from emohelpers.datasets.tables import named_column

PATIENCE = 5  # seconds for the pattern of a manifest on all file names: 30,000 take some hundredths


def read_labels(manifest: Manifest, rows: Rows) -> None:
    """Turns labels as written into emotions; rows that the manifest leaves out, or nobody knows, are taken away.

    Raises:
        ManifestError: no row has a known label.
    """
    counts = Counter(rows.frame["label"])
    emotions, unknown = _emotions(manifest, rows, counts)
    numbers = sorted(text for text in unknown if manifest.needs_order(text))
    if numbers:
        rows.problems.append(
            f"{rows.where} has integer labels ({', '.join(numbers[:10])}) and the manifest {manifest.name} "
            f"declares no order for them. Several are in use and guessing is forbidden. Write into its YAML\n"
            f"{_orders()}\n"
            "     or a mapping of your own: labels: {0: happy, 1: sad, ...}"
        )
    names = [text for text, _ in counts.most_common() if text in unknown and text not in numbers]
    if names:
        listed = ", ".join(f"{text or '(empty)'!r} ({counts[text]:,} rows)" for text in names[:10])
        declared = f"; declared in its YAML: {', '.join(manifest.labels)}" if isinstance(manifest.labels, dict) else ""
        rows.problems.append(
            f"{len(names)} unknown labels in {rows.where}: {listed}. Classes: "
            f"{', '.join(manifest.classes or labels.EMOTIONS)}; spellings: {', '.join(labels.ALIASES)}{declared}. "
            "Correct the table, or say in the manifest's YAML what they mean: "
            "labels: {<label>: <emotion>, <label to leave out>: null}"
        )
    if not emotions:
        raise ManifestError(f"{manifest.title} has no row with a known label:\n{numbered(rows.problems)}")
    label = rows.frame["label"].map(emotions)
    rows.frame = rows.frame.assign(label=label)[label.notna()].reset_index(drop=True)


def _emotions(manifest: Manifest, rows: Rows, counts: Counter[str]) -> tuple[dict[str, str], set[str]]:
    """What each label as written means, and those that nobody knows."""
    emotions = {}
    unknown = set()
    for text, count in counts.items():
        try:
            emotion = manifest.emotion(text)
        except labels.UnknownLabel:
            unknown.add(text)
            continue
        if emotion is None:
            rows.notes.append(f"{count:,} rows labelled {text!r} were left out, as the manifest says")
        elif manifest.classes and emotion not in manifest.classes:
            unknown.add(text)
        else:
            emotions[text] = emotion
    return emotions, unknown


def _orders() -> str:
    lines = []
    for name, order in labels.ORDERS.items():
        meanings = " ".join(f"{index}={emotion}" for index, emotion in enumerate(order) if emotion)
        lines.append(f"       labels: {name:<18} # {meanings}")
    return "\n".join(lines)


def read_declared(manifest: Manifest, rows: Rows) -> None:
    """Notes what the manifest declares of splits, sources and parents, and no row has."""
    declared = {name: getattr(manifest.layout, name) for name in manifest.layout.model_fields_set}
    for column in ("split", "source", "parent"):
        keys = [f"{name}: {value}" for name, value in sorted(declared.items()) if name.startswith(column) and value]
        if keys and not any(rows.frame[column]):
            rows.notes.append(f"{rows.where}: no row has a {column}, though the manifest says {', '.join(keys)}")


def read_splits(manifest: Manifest, rows: Rows) -> None:
    """Turns the data set's own words into train, val, test."""
    words = Counter(rows.frame["split"])
    parts = {word: manifest.part(word) for word in words}
    unknown = [word for word in words if parts[word] is None]
    if unknown:
        listed = ", ".join(f"{word!r} ({words[word]:,} rows)" for word in unknown[:5])
        rows.problems.append(
            f"unknown splits in {rows.where}: {listed}; known: {', '.join(SPLITS)}. "
            f"Say in the manifest's YAML what they are, e.g. splits: {{{unknown[0]}: train}}"
        )
    rows.frame["split"] = [parts[word] or "" for word in rows.frame["split"]]


def drop_repeats(rows: Rows) -> None:
    """Leaves one row a picture: repeated rows are a note, contradicting ones a problem."""
    table = rows.frame
    again = table["path"].duplicated(keep=False)
    if not again.any():
        return
    names = table[again].groupby("path")["label"].unique()
    conflict = names[names.str.len() > 1]
    if len(conflict):
        example = "; ".join(f"{path} is {' / '.join(emotions)}" for path, emotions in conflict.iloc[:3].items())
        rows.problems.append(
            f"{len(conflict):,} pictures stand in {rows.where} with different labels: {example}. Keep one row of each"
        )
    rows.notes.append(f"{int(table['path'].duplicated().sum()):,} repeated rows of {rows.where} were dropped")
    rows.frame = table.drop_duplicates("path").reset_index(drop=True)


def groups(manifest: Manifest, rows: Rows) -> list[str]:
    """A name a row: rows joined by an equal stem, an equal group column or a parent, over any number of steps."""
    table = rows.frame
    spec = manifest.group
    columns = ["{group}"] if "{group}" in table else []
    for name in spec.columns:
        columns.append(named_column(table, [name]))
        if not columns[-1]:
            raise ManifestError(
                f"{rows.where} has no column {name!r}, by which the manifest {manifest.name} groups (group.columns)"
            )
    keys: list[Sequence[str]] = []
    for name in columns:
        keys.append(unified(table[name]))
        if unknown := [text for text, group in zip(table[name], keys[-1], strict=True) if not group]:
            listed = ", ".join(map(repr, dict.fromkeys(unknown)))[:99]
            rows.notes.append(
                f"{len(unknown):,} of {len(table):,} rows have no {name} ({listed}): none of them is joined by it"
            )
    # An edit has its parent's path as key and a photograph its own: equal keys join the two.
    keys.append(table["parent"].where(table["parent"] != "", table["path"]))
    if spec.stem:
        stems = list(table["path"].map(stem))
        keys.append([word(name) for name in (_stripped(spec.strip, stems) if spec.strip else stems)])
    return joined(list(table["path"]), keys)


def stem(path: str) -> str:
    """A file's name without its suffix."""
    return path.rpartition("/")[2].rsplit(".", 1)[0]


def _stripped(pattern: str, stems: list[str]) -> list[str]:
    """Stems without what `pattern` matches, which another process looks for: nothing else can stop (a+)+ and its like.

    Raises:
        ManifestError: it took longer than `PATIENCE`.
    """
    code = "import json, re, sys; p, names = json.load(sys.stdin); print(json.dumps([re.sub(p, '', n) for n in names]))"
    command = [sys.executable, "-I", "-c", code]
    try:
        done = subprocess.run(
            command, input=json.dumps([pattern, stems]), stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True
        )
    except subprocess.TimeoutExpired:
        raise ManifestError(
            f"group.strip = {pattern!r} took longer than {PATIENCE} s on {len(stems):,} file names: repeats within "
            "repeats, such as (a+)+, do. Write it without them"
        ) from None
    return [short or name for short, name in zip(json.loads(done.stdout), stems, strict=True)]


def joined(paths: Sequence[str], keys: Iterable[Sequence[str]], pairs: ndarray | None = None) -> list[str]:
    """The first path of each row's group: rows with an equal value of a key, or in a pair, over any number of steps.

    Args:
        keys: each a value a row; an empty one joins nothing.
        pairs: (m, 2) positions of rows that belong together.
    """
    # A row is a node of a graph, and so is each value of each key; an edge joins a row to its values.
    edges = [np.empty((2, 0), int) if pairs is None else pairs.T]
    nodes = len(paths)
    for key in keys:
        values = np.array(key, dtype=object)
        code, distinct = pd.factorize(values)
        filled = np.flatnonzero(values != "")
        edges.append(np.stack([filled, nodes + code[filled]]))
        nodes += len(distinct)
    start, end = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(start)), (start, end)), shape=(nodes, nodes))
    _, component = connected_components(graph, directed=False)
    # Each group is called by its first path.
    backwards = sorted(range(len(paths)), key=lambda row: paths[row], reverse=True)
    first = {component[row]: paths[row] for row in backwards}
    return [first[number] for number in component[: len(paths)]]


def agreement(manifest: Manifest, table: DataFrame) -> list[str]:
    """A note of how often a picture's folder says the same as its label, overall and for the worst folder."""
    folders = [path.split("/")[-2] if "/" in path else "" for path in table["path"]]
    emotions = {}
    for name in set(folders):
        with contextlib.suppress(labels.UnknownLabel):
            emotions[name] = manifest.emotion(name)
    emotion = Series([emotions.get(name) for name in folders], dtype=object)
    named = emotion.notna()
    if named.mean() < 0.5:  # folders that are no labels
        return []
    same = (emotion == table["label"])[named]
    by_folder = same.groupby(emotion[named]).mean()
    note = f"label and folder agree on {same.mean():.1%} of {named.sum():,} rows"
    if not same.all():
        note += f", worst for folder {by_folder.idxmin()} with {by_folder.min():.0%}; the label is used, not the folder"
    return [note]


def class_problems(table: DataFrame, classes: tuple[str, ...], stems: bool = False) -> list[str]:
    """Classes without pictures, or with fewer independent ones than there are parts of a split.

    Args:
        stems: equal file names were joined, which is said where it may be the reason.
    """
    count = table.groupby("label")["group"].nunique()
    empty = [name for name in classes if name not in count.index]
    few = [f"{name} has {count[name]}" for name in classes if name in count.index and count[name] < 3]
    problems = []
    if len(count) < 2:
        problems.append(f"all pictures are of one class ({', '.join(count.index)}), and telling apart needs two")
    if empty:
        problems.append(
            f"no picture of {', '.join(empty)}, although the manifest lists the class: add pictures, "
            "or list only the classes you have (classes: [...] in the YAML)"
        )
    if few:
        names = table[["group"]].assign(stem=table["path"].map(stem).map(word))
        alike = names[names.duplicated(keep=False)]
        reason = ""
        if stems and len(alike):
            first = list(table["path"][(names == alike.iloc[0]).all(axis=1)])[:2]
            reason = (
                f"{len(alike):,} pictures are joined by equal file names, e.g. {' and '.join(first)}: where these are "
                "different pictures, write group: {stem: false} into the manifest's YAML. Else add"
            )
        problems.append(
            f"too few independent pictures to split: {'; '.join(few)}, and training, validation and golden set need "
            f"one each. {reason or 'Add'} pictures, or leave the class out (labels: {{<label>: null}} in the YAML)"
        )
    return problems
