"""Texts and pages as jinja2 templates beside the code: a file of sentences has one macro a text.

Any room keeps its sentences in a file of its own, `sentences.jinja`, and says them with values alone:

    SENTENCES = templates.sentences(Path(__file__).with_name("sentences.jinja"))
    print(SENTENCES.learned(figures, demo))

In a template `{{ value|number(".1%") }}` formats as Python's format() does.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2


def page(path: Path, **values: Any) -> str:
    """A page filled with `values`, which are escaped for HTML unless marked safe in the template."""
    return _environment(path, escaped=True).get_template(path.name).render(values)


class Sentences:
    """The macros of a template file as functions that return text without empty ends."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getattr__(self, name: str) -> Callable[..., str]:
        macros = _environment(self.path).get_template(self.path.name).module
        macro = getattr(macros, name)
        return lambda *values, **named: str(macro(*values, **named)).strip()


def sentences(path: Path) -> Sentences:
    """The texts of a file; read when the first is said."""
    return Sentences(path)


def _environment(path: Path, escaped: bool = False) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=escaped,
    )
    environment.filters["number"] = format
    return environment
