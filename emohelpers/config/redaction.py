"""No secret in a text: what was read as one, in whatever encoding, and what looks like one, becomes `***`."""

import base64
import functools
import html
import re
from typing import Any

HIDDEN = "***"
SHAPES = re.compile(
    r"""(?x)
    (?<![A-Za-z0-9]) (?: hf_[A-Za-z0-9]{16,}         # Hugging Face
    | (?<![A-Za-z0-9+/]{32}) AIza[\w-]{30,}           # Google; not in the base64 of a picture
    | (?<![A-Za-z0-9+/]{32}) AKIA[A-Z0-9]{16}         # Amazon
    | sk-(?=[\w-]{0,60}\d)[\w-]{20,}                  # OpenAI, Anthropic
    | KGAT_\w{16,}                                    # Kaggle; its older keys have 32 hex digits, see below
    | gh[oprsu]_\w{20,} | github_pat_\w{20,}          # GitHub
    | eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+ )            # JSON web tokens
    | (?<=://)[^\s/@:"'<>]{0,99}:[^\s/@"'<>]{1,300}(?=@) # user:password of an address
    | (?P<before> (?:[?&]|&amp;) (?i:[\w.-]*(?:key|token|secret|passw(?:or)?d|sig(?:nature)?)) =
      | (?i:authorization)["']?\s*[:=]\s*b?["']?(?:\w+\s+)? | (?i:bearer)\s+(?=\S+[A-Z\d])
      | (?i:key)["']?\s*[:=]\s*["']?(?=[0-9a-f]{32}\b)
      | (?i:api_?key|token|secret|passw(?:or)?d)["']?\s*[:=]\s*["']?(?=[\w+/=-]{0,99}\d)(?=[\w+/=-]{16}) )
      [^\s"'<>&\\]{4,}
    """
)
_secrets: set[str] = set()


def remember(*secrets: str) -> None:
    """From now on `redact` hides these wherever they stand; what is shorter than six characters would hide words."""
    _secrets.update(secret for secret in secrets if len(secret) >= 6)


def redact(text: str) -> str:
    """The text without secrets."""
    if _secrets:
        text = _encodings(frozenset(_secrets)).sub(HIDDEN, text)
    return SHAPES.sub(lambda match: (match["before"] or "") + HIDDEN, text)


def brief(error: object, length: int) -> str:
    """The beginning of an error's text; cut after redaction, for half a secret would not be known as one."""
    return redact(str(error))[:length]


def redacted(content: Any) -> Any:
    """What a JSON file holds without secrets; pictures, which are base64, stay as they are."""
    if isinstance(content, str):
        return redact(content)
    if isinstance(content, list | tuple):
        return [redacted(entry) for entry in content]
    if isinstance(content, dict):
        return {key: entry if "image/" in str(key) else redacted(entry) for key, entry in content.items()}
    return content


@functools.lru_cache(1)
def _encodings(secrets: frozenset[str]) -> re.Pattern[str]:
    """Each secret as it is, with any of its characters escaped for an address, HTML or JSON, or as base64."""
    # A pattern takes the first alternative that fits, and one secret may begin with another.
    longest_first = sorted(secrets, key=len, reverse=True)
    plain = ["".join(map(_character, secret)) for secret in longest_first]
    coded = [re.escape(text).replace(r"\+", "[+-]").replace("/", "[/_]") for s in longest_first for text in _base64(s)]
    return re.compile("|".join([*plain, *coded]))


def _character(letter: str) -> str:
    code = f"{ord(letter):02x}"
    spellings = {letter, html.escape(letter), rf"\{letter}" if letter in "\"'\\/" else letter}
    escaped = rf"%(?:25)*(?i:{code})|\\u00(?i:{code})|&\#{ord(letter)};"
    return f"(?:{'|'.join(map(re.escape, sorted(spellings)))}|{escaped})"


def _base64(secret: str) -> list[str]:
    """The letters that a secret alone decides, wherever it stands among the three bytes that four letters encode."""
    # A letter holds 6 bits: those that also hold bits of a neighbouring byte are cut off at both ends.
    texts = []
    for shift, first in enumerate((0, 2, 3)):
        content = b"\0" * shift + secret.encode()
        texts.append(base64.b64encode(content).decode()[first : len(content) * 8 // 6])
    return texts
