"""HTML that is escaped by construction: text becomes markup only here.

A `str` is text and is escaped wherever it goes, a `Markup` is not. Characters that a page may not
have, and those that would change how others are shown, are made visible.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Content", "Markup", "element", "joined", "text", "visible"]

_VOID: Final = frozenset({"br", "col", "hr", "line", "link", "meta", "path", "polygon", "rect"})
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)
"""Controls, separators of lines, directions of writing, what has no width, and half characters."""
_CONTROL_PICTURES: Final = 0x2400
_CONTROLS: Final = 0x20


class Markup(str):
    """HTML, complete and well-formed."""

    __slots__ = ()


Content = str | int | None
"""What an element holds: markup, text that is escaped, a number, or nothing."""


def visible(content: str) -> str:
    """Text in which nothing is hidden and nothing changes the rest.

    A carriage return before a line break is left out: it is how a message ends its lines.
    """
    return _HIDDEN.sub(_shown, content.replace("\r\n", "\n"))


def _shown(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(_CONTROL_PICTURES + code) if code < _CONTROLS else f"[U+{code:04X}]"


def text(content: Content) -> Markup:
    """Content as markup: text escaped, markup as it is."""
    if content is None:
        return Markup()
    return content if isinstance(content, Markup) else Markup(escape(visible(str(content))))


def joined(contents: Iterable[Content], between: str = "") -> Markup:
    """Contents one after the other."""
    return Markup(text(between).join(map(text, contents)))


def element(name: str, /, *contents: Content, **attributes: str | float | bool | None) -> Markup:
    """An element with its contents.

    Args:
        name: Of the element.
        contents: Text or markup.
        attributes: By name, `class_` for `class` and `aria_label` for `aria-label`. None and
            False leave it out, True gives it without a value.
    """
    given = "".join(
        f" {_attribute(key)}" if value is True else f' {_attribute(key)}="{text(str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{joined(contents)}</{name}>")


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
