"""What papermill hands to a notebook: its parameters, any setting by name, and names that nothing would read."""

import ast
import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from IPython import get_ipython

from emohelpers.config import ConfigError

INJECTED = "# Parameters"  # how the cell begins that papermill puts behind the parameters cell


def overrides(value: Any) -> dict[str, Any]:
    """OVERRIDES as a dictionary; a text, all that `papermill -p` can pass, is read as JSON or YAML.

    Raises:
        ConfigError: it is no mapping of settings.
    """
    settings = _read(value) if isinstance(value, str) else value
    if settings is None:
        return {}
    if not isinstance(settings, Mapping):
        raise ConfigError(f'OVERRIDES = {value!r} names no settings: give a mapping, such as {{"epochs": 3}}')
    return dict(settings)


def _read(text: str) -> Any:
    try:
        return json.loads(text)  # before YAML, which takes 1e-3 for a word
    except ValueError:
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"OVERRIDES = {text!r} is neither JSON nor YAML: {str(error).splitlines()[0]}") from None


def injected(kind: type) -> dict[str, Any]:
    """The settings that papermill's cell names in capitals beside the notebook's parameters, `-p EPOCHS 3`.

    Raises:
        ConfigError: it names what is neither a parameter nor a setting; papermill itself only warns of that.
    """
    shell = get_ipython()
    if shell is None:
        return {}
    return beyond(kind, shell.user_ns.get("In", []), shell.user_ns)


def beyond(kind: type, cells: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """`injected` of these executed cells, the newest last, whose names have these values."""
    places = [place for place, source in enumerate(cells) if source.startswith(INJECTED)]
    if not places or places[-1] == 0:
        return {}
    parameters = _assigned(cells[places[-1] - 1])
    others = [name for name in _assigned(cells[places[-1]]) if name not in parameters]
    settings = {name: name.lower() for name in others if name.isupper() and name.lower() in kind.model_fields}
    unknown = [name for name in others if name not in settings]
    if unknown:
        known = [*parameters, *(name.upper() for name in kind.model_fields)]
        lines = []
        for name in unknown:
            near = difflib.get_close_matches(name.upper(), known, n=2, cutoff=0.5)
            lines.append(f"{name}: did you mean {' or '.join(near)}?" if near else f"{name}: no such parameter")
        raise ConfigError(
            "papermill passed what this notebook does not have:\n  "
            + "\n  ".join(lines)
            + f"\nIts parameters: {', '.join(parameters)}; beside them any setting in capitals, such as EPOCHS."
        )
    return {setting: values[name] for name, setting in settings.items()}


def _assigned(source: str) -> list[str]:
    """The names that a cell binds at its top, in order."""
    names = []
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names
