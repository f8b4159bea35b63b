"""What an editor answers, asked for once: what costs something is kept before anything else happens."""

import hashlib
import json
import threading
from pathlib import Path

from emohelpers import config
from emohelpers.config import files
from emohelpers.saga.editors import Declined, Editor, Exhausted, Job


class Answers:
    """Asks an editor, from several threads, until it is exhausted or `max_calls` are made.

    Attributes:
        calls: answers that this process asked for itself.
        paused: why it does not go on, "" while it does.
    """

    def __init__(self, editor: Editor, photographs: Path, folder: Path, max_calls: int) -> None:
        """`photographs` is the root of the faces, `folder` keeps the answers; 0 calls stand for no limit."""
        self.editor = editor
        self.photographs = photographs
        self.folder = folder
        self.max_calls = max_calls
        self.calls = 0
        self.paused = ""
        self._lock = threading.Lock()

    def get(self, job: Job) -> bytes | str | None:
        """The edit; why there is none; None where it was not asked for."""
        face = (self.photographs / job.path).read_bytes() if job.path else b""
        if not self.editor.paid:
            return self._ask(job, face) if self._may_ask() else None
        file = self._file(job, face)
        refusal = file.with_suffix(".json")
        if file.is_file():
            return file.read_bytes()
        if refusal.is_file():
            return json.loads(refusal.read_text())["declined"]
        if not self._may_ask():
            return None
        answer = self._ask(job, face)
        if isinstance(answer, bytes):
            files.write_bytes(file, answer)
        elif answer is not None:
            files.write_json(refusal, {"declined": answer})
        return answer

    def _file(self, job: Job, face: bytes) -> Path:
        """Named by everything that decides the answer."""
        content = hashlib.sha256(face).hexdigest()
        key = config.digest(self.editor.name, self.editor.settings, job.prompt, job.target, job.path, content)
        return self.folder / f"{key}.bin"

    def _may_ask(self) -> bool:
        with self._lock:
            if self.max_calls and self.calls >= self.max_calls:
                self.paused = self.paused or f"paused: max_calls = {self.max_calls}"
            if self.paused:
                return False
            self.calls += 1
            return True

    def _ask(self, job: Job, face: bytes) -> bytes | str | None:
        try:
            return self.editor.edit(job, face)
        except Declined as error:
            return str(error)
        except Exhausted as error:
            self.paused = f"paused: {error}"
            return None
