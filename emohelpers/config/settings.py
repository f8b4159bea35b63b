"""How a config is made and checked: `shared` holds the settings that notebooks share, a file each family its own.

A config is frozen and keyword-only. Unknown names, wrong types and impossible values raise `ConfigError`, all at once.
`full` is the original's recipe; `demo` is the same path at the scale of two CPU cores and differs in values only.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emohelpers.config import paths
from emohelpers.config.errors import SuiteError
from emohelpers.config.mistakes import mistakes
from emohelpers.config.redaction import redact

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Part = Annotated[float, Field(gt=0, lt=1)]
S = TypeVar("S")
Aside = Annotated[S, "decides no weights"]  # or only through the data, the initial weights or the objective
Added = Annotated[S, "added later"]  # its default leaves everything as it was before there was such a setting
Depth = Literal["all"] | Annotated[int, Field(ge=0)] | Part  # last blocks or stages beside the head, or a share of them


class ConfigError(SuiteError, ValueError):
    """Every wrong setting of a call, with what was given and what is allowed."""


class Settings(BaseModel):
    """What all configs are: frozen, checked, and printed one setting a line.

    A setting `x: Aside[int] = 3` can be changed in the middle of a training: the training goes on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    demo: ClassVar[dict[str, Any]] = {}  # what the preset "demo" sets otherwise: sizes alone
    former: ClassVar[dict[str, Any]] = {}  # settings of earlier versions; the names of their trainings hold them
    retired: ClassVar[tuple[str, ...]] = ()  # such settings as well, but they decided no weights
    writes: ClassVar[tuple[str, ...]] = ()  # files that the notebook promises; its receipt proves them

    def __str__(self) -> str:
        width = max(map(len, type(self).model_fields))
        return "\n".join(f"{name:<{width}} = {value!r}" for name, value in self)


T = TypeVar("T", bound=Settings)


SESSION_HOURS = 11.5  # Kaggle ends a session after 12 hours, Colab at about 12; elsewhere nothing ends by itself


def chosen(preset: str, values: Mapping[str, Any]) -> str:
    """`auto` is `full` on Kaggle and Colab or where the values name data, and `demo` on a machine with neither."""
    if preset != "auto":
        return preset
    own = values.get("dataset_root") or values.get("manifest", "demo_faces") != "demo_faces"
    return "full" if paths.host() or own else "demo"


def make(kind: type[T], preset: str = "auto", /, **values: Any) -> T:
    """The config of one notebook: preset, then the values given.

    `preset` may be "auto", see `chosen`.
    JSON types are accepted where papermill can pass nothing else (a list for a tuple, "3" as a dict key).
    """
    if "preset" in values:
        raise ConfigError(f"preset = {values['preset']!r}: a setting of its own, give it as PRESET, not in OVERRIDES")
    preset = chosen(preset, values)
    presets = {"full": {}, "demo": kind.demo}
    if preset not in presets:
        raise ConfigError(f"PRESET = {preset!r} is not one of 'auto', {', '.join(map(repr, presets))}")
    limit = {"time_budget_h": SESSION_HOURS} if paths.host() and "time_budget_h" in kind.model_fields else {}
    merged = {**presets[preset], **limit, **values, "preset": preset}
    if secret := [name for name, value in merged.items() if redact(str(value)) != str(value)]:
        raise ConfigError(
            f"{', '.join(secret)}: a key or password in a setting would be kept with every result. Give it as an "
            "environment variable or in .env"
        )
    for name, value in merged.items():
        if isinstance(value, list):
            merged[name] = tuple(value)
        elif isinstance(value, dict):
            merged[name] = {int(k) if str(k).isdecimal() else k: v for k, v in value.items()}
    try:
        return kind(**merged)
    except ValidationError as error:
        problems = mistakes(kind, merged, error, "setting")
        lines = "\n  ".join(problems)
        known = ", ".join(kind.model_fields)
        raise ConfigError(
            f"{len(problems)} wrong in {kind.__name__} settings:\n  {lines}\nAll settings: {known}"
        ) from None


def digest(*parts: Any) -> str:
    """Twelve hex digits that name a content: JSON with sorted keys, SHA-256."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def with_settings(cfg: T, kind: type[T] | None = None, /, **changes: Any) -> T:
    """The config with some settings changed, checked like a new one.

    Args:
        kind: another family; it takes over those settings that it has too.

    Raises:
        ConfigError: every wrong setting at once.
    """
    kind = kind or type(cfg)
    settings = {name: setting for name, setting in cfg if name in kind.model_fields}
    preset = settings.pop("preset")
    return make(kind, preset, **{**settings, **changes})


def marked(kind: type[Settings], mark: Any) -> set[str]:
    """Names of the settings declared as `mark[...]`; a family that declares one of them anew need not mark it anew."""
    text = mark[Any].__metadata__[0]
    families = [family for family in kind.__mro__ if issubclass(family, Settings)]
    return {name for family in families for name, field in family.model_fields.items() if text in field.metadata}


def decisive(cfg: Settings) -> dict[str, Any]:
    """The settings that decide the weights of a training: what it is named by, the same in every version."""
    kind = type(cfg)
    skipped = marked(kind, Aside)
    skipped |= {name for name in marked(kind, Added) if getattr(cfg, name) == kind.model_fields[name].default}
    return kind.former | {name: setting for name, setting in cfg if name not in skipped}


def restored(kind: type[T], values: Mapping[str, Any]) -> T:
    """The config that a file of this version or an earlier one holds."""
    settings = {name: setting for name, setting in values.items() if name not in {*kind.former, *kind.retired}}
    preset = settings.pop("preset")
    return make(kind, preset, **settings)


def value(text: str, what: str) -> Any:
    """JSON, or a bare word as text."""
    try:
        return json.loads(text)
    except ValueError as error:
        if text[:1] in ("{", "[", '"'):
            raise ConfigError(f"{what} {text!r} is not JSON: {error}") from error
        return text


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """`["SEED=1", "OVERRIDES.epochs=3"]` as a dictionary."""
    values = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"--param {text!r} is not NAME=VALUE")
        values[name] = value(rest, f"--param {name} =")
    return values
