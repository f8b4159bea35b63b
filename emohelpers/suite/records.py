"""What a run says of itself in status.json and metrics.json: read whole, or known to be damaged."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError, field_validator

SILENT = 120.0  # seconds without a sign of life after which a run on another machine counts as dead


class Record(BaseModel):
    """The content of a file; every value has the default of a file that is not there."""

    model_config = ConfigDict(frozen=True)
    damaged: str = ""  # why the file cannot be read


class Content(BaseModel):
    """All that a run's results follow from, see `runs.made_of`."""

    model_config = ConfigDict(extra="allow")
    code: str = ""  # hash of the package
    versions: dict[str, str] = {}


class Status(Record):
    """How far a run is, or how it ended."""

    stem: str = ""
    run: str = ""  # the pass of the suite, with the point of the grid: demo@SEED=1
    status: str = ""  # running, done, failed, timeout or interrupted
    started: str = ""  # date and time of day
    began: float = 0  # seconds since 1970, as are heartbeat and born
    heartbeat: float = 0
    seconds: float | None = None
    host: str = ""
    pid: NonNegativeInt = 0  # of papermill
    born: float = 0  # when that process began: numbers of processes are used again
    cell: int = 0
    cells: int = 0
    key: str = ""  # hash of made_of
    made_of: Content = Content()
    error: str = ""

    @property
    def failed(self) -> bool:
        """Whether the run began and did not end well."""
        return bool(self.damaged) or self.status not in ("", "done")


class Figure(BaseModel):
    """A figure with its interval."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


class Metrics(Record):
    """The figures of a run and what they stand on."""

    data: str = ""
    demo: bool | None = None  # whether the data were drawn or played by code
    split: str | None = None
    device: str | None = None
    commit: str | None = None
    versions: dict[str, str] = {}
    figures: dict[str, Figure] = {}

    @field_validator("figures", mode="before")
    @classmethod
    def _with_a_value(cls, figures: Any) -> Any:
        """Leaves out lists, and figures that the data did not allow."""
        if not isinstance(figures, dict):
            return figures
        rows = {name: row for name, row in figures.items() if isinstance(row, dict)}
        return {name: row for name, row in rows.items() if row.get("value") is not None}


R = TypeVar("R", bound=Record)


def read(path: Path, kind: type[R]) -> R:
    """The record in a file; where it cannot be read, an empty one that says why."""
    if not path.is_file():
        return kind()
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = ": ".join(filter(None, [where, first["msg"]]))
    except OSError as error:
        reason = error.strerror
    return kind(damaged=f"{path.name} cannot be read ({reason})")


def status(folder: Path) -> Status:
    """What status.json in `folder` says."""
    return read(folder / "status.json", Status)
