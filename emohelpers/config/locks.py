"""Locks between processes that end with their process; where a file system has no flock, a file names its owner."""

import errno
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from emohelpers.config.errors import SuiteError

# how a file system says that it has no flock: a container's, Lustre's, some NFS
MISSING = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
TORN = 10.0  # seconds after which an owner's file without a name is of a process that died while it wrote
_claims: dict[Path, "FileLock | Owner"] = {}  # results folders of this process


class Busy(SuiteError, RuntimeError):
    """What another process is using."""


def lock(path: Path) -> "FileLock | Owner":
    """A lock that waits: `with lock(path): ...`, or acquire(timeout=seconds) and release; filelock's `Timeout`."""
    return FileLock(path) if _flock_works(path) else Owner(path.with_name(path.name + ".owner"))


def claim(folder: Path) -> bool:
    """Keeps a results folder for this process until it ends or calls `release`; False where it is ours already.

    Raises:
        Busy: another process has it.
    """
    place = folder.resolve()
    if place in _claims:
        return False
    ours = lock(place / ".run.lock")
    try:
        ours.acquire(timeout=0)
    except Timeout:
        raise Busy(
            f"{folder} is in use by another run, and two would mix their settings and weights. Wait for its end (shut "
            "down the kernel of a notebook that was left half way), or name another folder: OUTPUT_DIR, or --out."
        ) from None
    _claims[place] = ours
    return True


@contextmanager
def claimed(folder: Path, wanted: bool = True) -> Iterator[None]:
    """Keeps a folder of results for as long as the block takes, unless it is kept longer or not `wanted`."""
    folder.mkdir(parents=True, exist_ok=True)
    first = wanted and claim(folder)
    try:
        yield
    finally:
        if first:
            release(folder)


def release(folder: Path) -> None:
    """Gives back what `claim` took."""
    if ours := _claims.pop(folder.resolve(), None):
        ours.release()


class Owner:
    """A file with host, process and its start. Of this host a dead owner is known; no clock is compared with ours."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def acquire(self, timeout: float = -1) -> None:
        """Waits while a process of this host has it.

        Raises:
            Timeout: as with filelock.
            Busy: a process of another host has it, which may be dead.
        """
        started = time.monotonic()
        text = json.dumps([socket.gethostname(), os.getpid(), psutil.Process().create_time()])
        while True:
            with suppress(FileExistsError):
                handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
                with open(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                return
            self._remove_dead(torn=time.monotonic() - started > TORN)
            if 0 <= timeout <= time.monotonic() - started and self.path.exists():
                raise Timeout(str(self.path))
            time.sleep(0.05)

    def release(self) -> None:
        """Lets the next one in."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> "Owner":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _remove_dead(self, *, torn: bool) -> None:
        text = ""
        try:
            text = self.path.read_text(encoding="utf-8")
            host, pid, born = json.loads(text)
        except FileNotFoundError:
            return
        except (ValueError, TypeError):  # it is being written
            if not torn:
                return
        else:
            if host != socket.gethostname():
                raise Busy(
                    f"process {pid} on {host} has {self.path.parent} in use, and this file system has no locks that "
                    f"would tell whether it lives. If it has ended, remove {self.path}."
                )
            # Process numbers are used again: the start time tells whether it is the same process.
            with suppress(psutil.NoSuchProcess):
                if abs(psutil.Process(pid).create_time() - born) < 2:
                    return
        dead = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:8]}")
        with suppress(FileNotFoundError):
            self.path.rename(dead)  # one of those who wait succeeds
            if dead.read_text(encoding="utf-8") != text:  # and this is already the next owner's
                dead.rename(self.path)
            dead.unlink()


def _flock_works(path: Path) -> bool:
    if os.name != "posix":
        return True
    import fcntl  # not on Windows

    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in MISSING
    finally:
        os.close(handle)
    return True
