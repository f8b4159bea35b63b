"""An image-editing service: Google's Gemini by its own client, at its pace, and with patience."""

import io
import threading
import time

from PIL import Image

from emohelpers.config import paths
from emohelpers.config.redaction import brief
from emohelpers.config.registry import EDITORS
from emohelpers.datasets import decoding
from emohelpers.saga.editors.editor import Declined, Exhausted, Job, reencoded

TRIES = 6  # of one edit
FIRST_WAIT = 2.0  # seconds before the second try; it doubles
LONGEST_WAIT = 120.0  # seconds
TIMEOUT = 120.0  # seconds for one answer
RETRIED = (408, 429, 500, 502, 503, 504)  # the service may answer next time


@EDITORS.register("gemini")
class Gemini:
    """Asks the service for each edit; what it says no to is `Declined`, what passes is tried again."""

    workers = 4
    paid = True

    def __init__(self, cfg, dataset=None, ready=None) -> None:
        import tenacity  # what the client itself retries with; it does not retry answers that are broken off
        from google import genai  # an extra: only where it is asked for

        key = paths.secret("GEMINI_API_KEY")
        if not key:
            raise Exhausted("editor='gemini' needs a key: a secret or environment variable GEMINI_API_KEY.")
        self.model = cfg.gemini_model
        self.name = f"gemini:{self.model}"
        self.settings = {"model": self.model}
        self.genai = genai
        options = genai.types.HttpOptions(base_url=cfg.gemini_url or None, timeout=round(TIMEOUT * 1000))
        self.client = genai.Client(api_key=key, http_options=options)
        self.retrying = tenacity.Retrying(
            retry=tenacity.retry_if_not_exception_type((Declined, Exhausted)),
            stop=tenacity.stop_after_attempt(TRIES),
            wait=tenacity.wait_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT),
            reraise=True,
        )
        self.pause = 60 / cfg.requests_per_minute  # seconds between two requests
        self._next = 0.0
        self._lock = threading.Lock()

    def edit(self, job: Job, picture: bytes) -> bytes:
        try:
            edit = self.retrying.copy()(self._ask, job, picture)
        except (Declined, Exhausted):
            raise
        except Exception as error:  # broken JSON, network: the client passes on what its HTTP library raises
            reason = f"{type(error).__name__}: {brief(error, 120)}"
            raise Exhausted(
                f"{TRIES} tries failed, the last with {reason}. Run again later: nothing is lost."
            ) from None  # the cause's text may hold the key
        return reencoded(edit, picture)

    def _ask(self, job: Job, picture: bytes) -> Image.Image:
        types = self.genai.types
        kind = Image.MIME[decoding.opened(io.BytesIO(picture)).format]
        parts = [types.Part.from_bytes(data=picture, mime_type=kind), types.Part.from_text(text=job.prompt)]
        answers = types.GenerateContentConfig(response_modalities=["TEXT", "IMAGE"])
        self._wait()
        try:
            answer = self.client.models.generate_content(model=self.model, contents=parts, config=answers)
        except self.genai.errors.APIError as error:
            if error.code is None or error.code in RETRIED:
                raise
            reason = f"{error.code} {brief(error.message, 120)}"
            if error.code in (401, 403) or "api key" in reason.lower():
                raise Exhausted(f"the key is refused: {reason}. Give another as GEMINI_API_KEY.") from None
            raise Declined(reason) from None
        return _picture(answer)

    def _wait(self) -> None:
        """Until the next request may go out."""
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now)
            self._next = turn + self.pause
        time.sleep(turn - now)


def _picture(answer) -> Image.Image:
    candidate = answer.candidates[0] if answer.candidates else None
    content = candidate.content if candidate else None
    parts = content.parts or [] if content else []
    pictures = [part.inline_data.data for part in parts if part.inline_data and part.inline_data.data]
    if not pictures:
        reason = candidate.finish_reason if candidate else answer.prompt_feedback
        raise Declined(f"no picture in the answer ({reason})")
    try:
        return Image.fromarray(decoding.decode(pictures[0]))
    except decoding.UnreadableImage as error:
        raise Declined("the answer is not a picture") from error
