"""Locks between processes that end with their process; where a file system has no flock, a file names its owner."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, SoftFileLock, Timeout

from emohelpers.config.errors import SuiteError

# how a file system says that it has no flock: a container's, Lustre's, some NFS
MISSING = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
LOOK = 3.0  # seconds between two looks at who has a lock; filelock needs two to know a dead owner
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
        ours.acquire(timeout=0.2)  # a dead owner's file gives way at the second look
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


class Owner(SoftFileLock):
    """A file with process and host; filelock takes it from a dead process of this host, and knows no other's."""

    def acquire(self, timeout: float | None = None, **options):
        """Waits while a process of this host has it, at most `timeout` seconds.

        Raises:
            Timeout: as with filelock.
            Busy: nobody here can tell whether its owner lives.
        """
        while True:
            try:
                return super().acquire(LOOK if timeout is None else timeout, **options)
            except Timeout:
                with suppress(FileNotFoundError):  # given back just now
                    self._refuse_unknown()
                if timeout is not None:
                    raise

    def _refuse_unknown(self) -> None:
        pid, host, *_ = [*Path(self.lock_file).read_text(encoding="utf-8", errors="replace").split("\n"), ""]
        # filelock adds a container's number behind a question mark.
        if host.partition("?")[0] != socket.gethostname() or not psutil.pid_exists(int(pid or -1)):
            raise Busy(
                f"process {pid or '(without a name)'} on {host or 'this or another host'} has "
                f"{Path(self.lock_file).parent} in use, and this file system has no locks that would tell whether it "
                f"lives. If it has ended, remove {self.lock_file}."
            )


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
