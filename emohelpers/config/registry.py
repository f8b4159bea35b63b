"""Choices by name: a head, a loss or an editor is registered once, beside its code, and config knows it from then on.

    @HEADS.register("linear")
    def linear(width, classes, cfg): ...

A registry knows which file holds its entries and imports it when it is first asked, so that making a config names every
allowed value while reading this file needs nothing. Entries from outside the package are registered the same way.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from pydantic import AfterValidator


class Registry(Mapping[str, Any]):
    """The allowed values of one setting, and what each of them stands for."""

    def __init__(self, kind: str, home: str) -> None:
        """`kind` is the word for one entry in error texts, `home` the module that registers the package's own."""
        self.kind = kind
        self.home = home
        self._entries: dict[str, Any] = {}

    def register(self, name: str, entry: Any = None) -> Callable[[Any], Any]:
        """Adds `entry` under `name`; without an entry it decorates a function or a class.

        Raises:
            ValueError: the name is taken by something else.
        """

        def add(value: Any) -> Any:
            earlier = self._entries.get(name)
            # A notebook cell that is run again registers the same function anew.
            if earlier is not None and getattr(earlier, "__qualname__", None) != getattr(value, "__qualname__", name):
                raise ValueError(f"there is a {self.kind} {name!r} already: {earlier}")
            self._entries[name] = value
            return value

        return add if entry is None else add(entry)

    def __getitem__(self, name: str) -> Any:
        self._load()
        if name not in self._entries:
            raise KeyError(self.refusal(name))
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._entries)

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def refusal(self, name: object) -> str:
        """The sentence that names what there is instead."""
        near = difflib.get_close_matches(str(name), list(self), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"{name!r} is no {self.kind}.{hint} There are {', '.join(map(repr, self))}."

    @property
    def choice(self) -> AfterValidator:
        """For a config's field: `head: Annotated[str, HEADS.choice]`."""

        def check(name: str) -> str:
            if name not in self:
                raise ValueError(self.refusal(name))
            return name

        return AfterValidator(check)

    def _load(self) -> None:
        import_module(self.home)


HEADS = Registry("head", "emohelpers.models.heads")
LOSSES = Registry("loss", "emohelpers.train.losses")
SCHEDULES = Registry("schedule", "emohelpers.train.optim")
AUGMENTATIONS = Registry("augmentation", "emohelpers.images.augment")
METHODS = Registry("method of explanation", "emohelpers.explain.methods")
EDITORS = Registry("editor", "emohelpers.saga.editors")
GATES = Registry("gate", "emohelpers.saga.gates")
INT8_RECIPES = Registry("int8 recipe", "emohelpers.export.int8")
