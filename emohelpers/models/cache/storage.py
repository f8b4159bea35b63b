"""Activations kept as rows of bytes: on the card, in a memory-mapped file of scratch space, or in memory.

A row counts only after its check sum was written behind it. So a kill in the middle of a row, a power cut or a bad
sector costs this row alone: it is computed again.
"""

import os
import shutil
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import psutil
import torch
from filelock import FileLock

from emohelpers.config import files

BYTES = {"fp32": 4, "fp16": 2, "int8": 1}  # of a number; int8 adds a float32 scale for each token
MARGIN = 0.95  # of the free disk may be taken
QUICK = 0.7  # of the free memory: a mapped file of that size stays in the system's page cache
HELD = 0.5  # of the free memory or card for rows that are held there
FP16 = 65504 / 8  # largest number, with a margin for pictures that were not looked at


def width(shape: tuple[int, ...], kind: str) -> int:
    """Bytes of one picture's activations."""
    return prod(shape) * BYTES[kind] + (4 * prod(shape) // _channels(shape) if kind == "int8" else 0)


def _channels(shape: tuple[int, ...]) -> int:
    return shape[0] if len(shape) == 3 else shape[-1]


def pack(values: torch.Tensor, kind: str) -> torch.Tensor:
    """(n, *shape) float32 -> (n, width) uint8; channels of a map (n, c, h, w) come last, as in channels-last memory."""
    values = (values.movedim(1, -1) if values.ndim == 4 else values).contiguous()
    if kind == "int8":
        scale = values.abs().amax(-1, keepdim=True).clamp_min(1e-12) / 127
        parts = [(values / scale).round().to(torch.int8).view(torch.uint8), scale.view(torch.uint8)]
        return torch.cat(parts, -1).flatten(1)
    return values.to({"fp32": torch.float32, "fp16": torch.float16}[kind]).view(torch.uint8).flatten(1)


def unpack(rows: torch.Tensor, shape: tuple[int, ...], kind: str) -> torch.Tensor:
    """What `pack` packed: (n, width) uint8 -> (n, *shape) float32."""
    inner = (*shape[1:], shape[0]) if len(shape) == 3 else shape
    if kind == "int8":
        rows = rows.view(len(rows), *inner[:-1], inner[-1] + 4)
        scale = rows[..., -4:].contiguous().view(torch.float32)
        values = rows[..., :-4].contiguous().view(torch.int8).float() * scale
    else:
        values = rows.view({"fp32": torch.float32, "fp16": torch.float16}[kind]).view(len(rows), *inner).float()
    return values.movedim(-1, 1) if len(shape) == 3 else values


@dataclass(frozen=True)
class Room:
    """Bytes that are free."""

    card: int  # 0 without one
    memory: int
    disk: int

    @classmethod
    def measured(cls, folder: Path, device: torch.device) -> "Room":
        """What is free now; what `folder` holds counts as free, since it is used again or removed."""
        there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
        own = sum(file.stat().st_blocks * 512 for file in folder.rglob("*.rows")) if os.name == "posix" else 0
        card = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
        return cls(card, psutil.virtual_memory().available, shutil.disk_usage(there).free + own)

    def places(self, size: int) -> list[str]:
        """Where `size` bytes fit, the best place first; "disk, slow" is read from the disk again and again."""
        quick, slow = size <= QUICK * self.memory, size <= MARGIN * self.disk
        fits = {
            "card": size <= HELD * self.card, "disk": slow and quick, "memory": size <= HELD * self.memory,
            "disk, slow": slow and not quick,
        }  # fmt: skip
        return [place for place, fit in fits.items() if fit]


class Shelf:
    """Rows of bytes by number; each is absent, or whole."""

    def __init__(self, rows: int, size: int, *, device: torch.device, file: Path | None = None):
        """`rows` of `size` bytes on `device`, or memory-mapped from `file`, which is made or taken up.

        Raises:
            OSError: the disk has no room for the file.
        """
        self.known = np.zeros(rows, bool)  # written or checked by this process
        self.sums = None
        if file is None:
            self.rows = torch.empty(rows, size, dtype=torch.uint8, device=device)
            return
        sums = file.with_suffix(".sums")
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):  # another process of the same run waits, then finds it
            if not sums.is_file() or sums.stat().st_size != rows * 8 or file.stat().st_size != rows * size:
                sums.unlink(missing_ok=True)
                files.reserve(file, rows * size)
                files.reserve(sums, rows * 8)
        self.rows = torch.from_file(str(file), shared=True, size=rows * size, dtype=torch.uint8).view(rows, size)
        self.sums = np.memmap(sums, np.int64, "r+")  # CRC-32 of each row + 1, or 0

    def holds(self, numbers: np.ndarray) -> bool:
        """Whether all these rows were written."""
        there = self.known[numbers]
        return bool(np.all(there if self.sums is None else there | (self.sums[numbers] > 0)))

    def put(self, numbers: np.ndarray, rows: torch.Tensor) -> None:
        """Keeps `rows` (n, size) under their numbers."""
        rows = rows.to(self.rows.device)
        self.rows.index_copy_(0, torch.from_numpy(numbers).to(rows.device), rows)
        if self.sums is not None:
            self.sums[numbers] = [zlib.crc32(row) + 1 for row in rows.numpy()]
        self.known[numbers] = True

    def take(self, numbers: np.ndarray) -> torch.Tensor | None:
        """These rows (n, size), or None where one of them is damaged: then it no longer counts as there."""
        rows = self.rows.index_select(0, torch.from_numpy(numbers).to(self.rows.device))
        new = np.flatnonzero(~self.known[numbers])
        damaged = [i for i in new if zlib.crc32(rows[i].numpy()) + 1 != self.sums[numbers[i]]]
        if damaged:
            self.sums[numbers[damaged]] = 0
            return None
        self.known[numbers] = True
        return rows
