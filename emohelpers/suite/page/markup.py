"""HTML as nested calls: text is escaped, elements are not."""

from html import escape


class Markup(str):
    """Text that is HTML already."""


def element(name: str, /, *inside: str | None, **attributes: object) -> Markup:
    """`<name ...>inside</name>`; None and "" are left out, `class_` stands for class, an attribute None is not written.

    >>> element("p", "a < b", element("br"), class_="quiet")
    '<p class="quiet">a &lt; b<br></p>'
    """
    given = [f' {key.rstrip("_")}="{escape(str(value))}"' for key, value in attributes.items() if value is not None]
    start = f"<{name}{''.join(given)}>"
    return Markup(start if name in ("br", "img", "meta", "link") else f"{start}{joined(*inside)}</{name}>")


def joined(*parts: str | None) -> Markup:
    """Elements and texts one after the other."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts if part))
