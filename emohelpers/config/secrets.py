"""A key or token as people store it: read clean, or refused without showing it."""

import re
from pathlib import Path

from emohelpers.config import redaction
from emohelpers.config.errors import SuiteError

NAMES = re.compile(r"(?i).*(TOKEN|SECRET|PASSWORD|PASSWD|KEY)")  # of variables that hold a secret
VALUE = re.compile(r"""(?s)[\s\ufeff\u200b]*(?:"([^"]*)"|'([^']*)'|(.*?))[\s\ufeff\u200b]*(?:\s\#.*)?""")
ENTRY = re.compile(r"(?m)^[ \t]*(?:export[ \t]+)?([A-Za-z_]\w*)[ \t]*=(.*)$")
PASSWORD = re.compile(r"://[^\s/@:]*:([^\s/@]{6,})@")  # in an address


class SecretError(SuiteError, ValueError):
    """A key that cannot be one, by its name and never by its value."""


def clean(name: str, text: str) -> str:
    """A secret without blanks, line ends, quotes and a comment around it; `redact` knows it from now on.

    Raises:
        SecretError: a blank, a control character or one beyond ASCII is left.
    """
    value = "".join(VALUE.fullmatch(text).groups("")).strip()
    redaction.remember(value, *re.findall(r"\S{10,}", value))
    if not re.fullmatch(r"[!-~]*", value):
        raise SecretError(
            f"{name} holds a blank, a line end or a letter beyond ASCII, which no key does: copy the key alone, anew "
            "(what it holds is not shown)"
        )
    return value


def read(file: Path) -> dict[str, str]:
    """Name -> text of the lines `NAME=text` of an .env file, in UTF-8, UTF-16 (PowerShell) or Latin-1; none: empty.

    Raises:
        SecretError: the file may not be read.
    """
    try:
        content = file.read_bytes() if file.is_file() else b""
    except OSError as error:
        raise SecretError(f"{file.resolve()} cannot be read ({error.strerror}): let this user read it") from error
    encoding = "utf-8-sig"
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif b"\0" in content[:2]:
        encoding = "utf-16-le" if content[1] == 0 else "utf-16-be"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:  # an accent in a comment
        text = content.decode("latin-1")
    return dict(ENTRY.findall("\n".join(text.splitlines())))


def remember(name: str, text: str) -> None:
    """Lets `redact` know the value of a variable if its name says that it is secret, and passwords in addresses."""
    redaction.remember(*PASSWORD.findall(text))
    if NAMES.fullmatch(name) and not Path(text[:1000]).exists():
        redaction.remember(*re.findall(r"[^\s'\"]{10,}", re.split(r"\s#", text)[0]))


def stored(host: str, name: str) -> str:
    """A secret of the own store of "kaggle" or "colab"; "" where there is none."""
    if host == "kaggle":
        try:
            from kaggle_secrets import UserSecretsClient  # only there, and not in every copy of its image

            return UserSecretsClient().get_secret(name) or ""
        except Exception:  # its own BackendError for a secret that is not attached
            return ""
    if host == "colab":
        from google.colab import userdata  # only there

        try:
            return userdata.get(name) or ""
        except Exception:  # SecretNotFoundError, NotebookAccessError
            return ""
    return ""
