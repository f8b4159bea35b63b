"""An image-editing service: Google's Gemini by its own client, with several keys, their limits, and patience."""

import io
import threading
import time
from collections import deque
from collections.abc import Callable

from google import genai
from google.genai import errors, types
from PIL import Image

from emohelpers.config import paths
from emohelpers.saga.editors import Declined, Exhausted, Job, reencoded

LONGEST = 120.0  # seconds of waiting between two tries
MINUTE = 60.0


class Keys:
    """Several keys, each with its own requests a minute; one that the service refuses is not used again."""

    def __init__(self, keys: list[str], per_minute: int, clock=time.monotonic, sleep=time.sleep):
        self.recent: dict[str, deque[float]] = {key: deque() for key in keys}
        self.resting = dict.fromkeys(keys, 0.0)
        self.per_minute, self.clock, self.sleep, self.lock = per_minute, clock, sleep, threading.Lock()
        self.lost: list[str] = []  # why keys are not used any more

    def take(self) -> str:
        """A key that may be used now, waiting for one where all are at their limit; raises `Exhausted` without any."""
        while True:
            with self.lock:
                if not self.resting:
                    raise Exhausted(f"no usable key is left: {'; '.join(self.lost)}. Give others as GEMINI_API_KEYS.")
                now = self.clock()
                free = {key: self._free_at(key, now) for key in self.resting}
                key = min(free, key=lambda k: (free[k], len(self.recent[k])))
                if free[key] <= now:
                    self.recent[key].append(now)
                    return key
            self.sleep(max(free[key] - now, 0.01))

    def _free_at(self, key: str, now: float) -> float:
        used = self.recent[key]
        while used and used[0] <= now - MINUTE:
            used.popleft()
        full = used[0] + MINUTE if len(used) >= self.per_minute else 0.0
        return max(self.resting[key], full)

    def rest(self, key: str, seconds: float) -> None:
        """Leaves a key alone for a while: the service said that its limit is reached."""
        with self.lock:
            if key in self.resting:
                self.resting[key] = self.clock() + seconds

    def drop(self, key: str, why: str) -> None:
        """Never uses a key again."""
        with self.lock:
            if self.resting.pop(key, None) is not None:
                self.lost.append(f"key ...{key[-4:]}: {why}")


class Gemini:
    """Asks the service for each edit; what it says no to is `Declined`, what passes is tried again with another key."""

    kept = True

    def __init__(
        self, keys: list[str], *, model: str, per_minute: int, tries: int = 6, base_url: str = "",
        first_wait: float = 2.0, timeout_s: float = 120.0, sleep: Callable[[float], None] = time.sleep,
    ):  # fmt: skip
        if not keys:
            raise Exhausted("editor='gemini' needs a key: a secret or environment variable GEMINI_API_KEYS (a,b,c).")
        self.name, self.settings, self.model = f"gemini:{model}", {"model": model}, model
        self.keys, self.tries, self.wait, self.sleep = Keys(keys, per_minute, sleep=sleep), tries, first_wait, sleep
        self.workers = min(2 * len(keys), 8)
        options = types.HttpOptions(base_url=base_url or None, timeout=round(timeout_s * 1000))
        self.clients = {key: genai.Client(api_key=key, http_options=options) for key in keys}

    @classmethod
    def of(cls, cfg) -> "Gemini":
        """The editor of a config; keys come from `GEMINI_API_KEYS`, separated by commas."""
        keys = [key.strip() for key in paths.secret("GEMINI_API_KEYS").split(",") if key.strip()]
        return cls(keys, model=cfg.gemini_model, per_minute=cfg.requests_per_minute, base_url=cfg.gemini_url)

    def edit(self, job: Job, picture: bytes) -> bytes:
        last = "nothing"
        for attempt in range(self.tries):
            key = self.keys.take()
            try:
                return reencoded(self._ask(key, job, picture), picture)
            except Declined:
                raise
            except errors.APIError as error:
                last = f"{error.code} {str(error.message)[:120]}"
                if error.code in (401, 403) or (error.code == 400 and "api key" in str(error.message).lower()):
                    self.keys.drop(key, last)
                elif error.code == 429:
                    self.keys.rest(key, min(self.wait * 2**attempt, LONGEST))
                elif error.code is not None and error.code < 500:
                    raise Declined(last) from error
                else:
                    self.sleep(min(self.wait * 2**attempt, LONGEST))
            except Exception as error:  # broken JSON, network: the client passes on what its HTTP library raises
                last = f"{type(error).__name__}: {str(error)[:120]}"
                self.sleep(min(self.wait * 2**attempt, LONGEST))
        raise Exhausted(f"{self.tries} tries failed, the last with {last}. Run again later: nothing is lost.")

    def _ask(self, key: str, job: Job, picture: bytes) -> Image.Image:
        kind = Image.MIME[Image.open(io.BytesIO(picture)).format]
        parts = [types.Part.from_bytes(data=picture, mime_type=kind), types.Part.from_text(text=job.prompt)]
        wanted = types.GenerateContentConfig(response_modalities=["TEXT", "IMAGE"])
        answer = self.clients[key].models.generate_content(model=self.model, contents=parts, config=wanted)
        content = answer.candidates[0].content if answer.candidates else None
        found = [part.inline_data.data for part in (content.parts or []) if part.inline_data] if content else []
        if not found or not found[0]:
            reason = answer.candidates[0].finish_reason if answer.candidates else answer.prompt_feedback
            raise Declined(f"no picture in the answer ({reason})")
        try:
            made = Image.open(io.BytesIO(found[0]))
            made.load()
        except (OSError, SyntaxError) as error:
            raise Declined("the answer is not a picture") from error
        return made
