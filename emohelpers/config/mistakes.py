"""What pydantic finds wrong with settings or with a YAML file, in sentences that name the key and what was given."""

import difflib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

Models = list[type[BaseModel]]


def mistakes(kind: type[BaseModel], values: Mapping[str, Any], error: ValidationError, word: str) -> list[str]:
    """A line for each wrong key: `epochs = "10": Input should be a valid integer`.

    Args:
        kind: the model that was to be made of `values`.
        word: what a key is called: "setting", "key".
    """
    lines: dict[str, list[str]] = {}
    for problem in error.errors():
        names, siblings = _field(kind, problem["loc"])
        where = ".".join(names)
        is_key = problem["loc"][-1:] == tuple(names[-1:])  # not an element of its value
        if problem["type"] == "missing" and is_key:
            lines[where] = ["is needed"]
            continue
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(names[-1], siblings, n=3, cutoff=0.5)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            lines[where] = [f"no such {word}{hint}"]
            continue
        # A setting that may be of several types has a problem with each of them.
        start = f"{where} = {_value(values, names)!r}" if names else ""
        lines.setdefault(start, []).append(problem["msg"].removeprefix("Value error, "))
    return [": ".join(filter(None, (start, "; ".join(texts)))) for start, texts in lines.items()]


def _field(kind: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """The keys that lead to a wrong value, and the names that the last of them might have had.

    A location of pydantic also holds which type of a union was tried and the position in a list: these are no keys.
    """
    names: list[str] = []
    models: Models = [kind]
    siblings: list[str] = []
    for step in location:
        tried = [model for model in models if model.__name__.casefold() == step]
        if tried and len(models) > 1:
            models = tried
            continue
        owner = next((model for model in models if step in model.model_fields), None)
        if owner:
            names.append(str(step))
            siblings = list(owner.model_fields)
            models = _models(owner.model_fields[step].annotation)
        elif models:  # a key that none of them has
            names.append(str(step))
            siblings = list(models[0].model_fields)
    return names, siblings


def _models(annotation: Any) -> Models:
    """The models that a value of this type can be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _value(values: Any, names: list[str]) -> Any:
    for name in names:
        values = values.get(name) if isinstance(values, Mapping) else values
    return values
