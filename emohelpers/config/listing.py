"""What lies in a folder, for error messages."""

import os
from pathlib import Path


def listing(folder: Path, depth: int = 2, limit: int = 12) -> str:
    """A few lines of what lies below `folder`, for error messages."""
    if not folder.is_dir():
        return f"{folder} " + ("is a file" if folder.is_file() else "does not exist")
    lines: list[str] = []

    def walk(place: Path, level: int) -> None:
        try:
            entries = sorted(place.iterdir())[:limit]
        except OSError as error:  # an error message must not fail itself
            lines.append("  " * level + f"(cannot be listed: {error.strerror})")
            return
        for entry in entries:
            if len(lines) < limit:
                inside = os.path.isdir(entry)
                lines.append("  " * level + entry.name + ("/" if inside else ""))
                if inside and level < depth:
                    walk(entry, level + 1)

    walk(folder, 1)
    return f"{folder} holds:\n" + ("\n".join(lines) or "  nothing")
