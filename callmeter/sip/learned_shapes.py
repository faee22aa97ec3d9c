"""Shapes of messages, learned from what a peer sends again and again.

Under load a peer sends the same message thousands of times: between two of them nothing differs
but the branch, the tags, Call-ID, the CSeq number and the body. Once the pattern of usual messages
has taken enough that look alike, a pattern of their own is made of one of them, with all else in
it as it stands. What that takes, the pattern of usual messages would take, and find the same in
it, for it may differ in nothing but in tokens of which the grammar asks nothing else. The check is
as strict as before, and takes a third of the time.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from callmeter.sip.parser import usual_match
from callmeter.sip.usual_message import UsualLines

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.sip.parser import ParserLimits
    from callmeter.sip.usual_message import Found

__all__ = ["LearnedShapes", "Marks", "Shape", "Usual"]

EDGE: Final = 12
"""Octets at both ends by which messages are taken to be alike: status or method, and the body."""
LEARN_AFTER: Final = 32
"""Making a shape takes as long as looking at 200 messages without it."""
OF_A_KIND: Final = 4
"""Shapes that are tried for messages that look alike."""
LEARNED: Final = 64
"""Shapes that are ever made: a peer that never sends alike costs no more than that."""
COUNTED: Final = 256
"""Kinds of messages that are counted at a time."""
HEAD: Final = 2_048
"""Octets of a head of which a shape is made."""

Marks = tuple[str, str, str, str | None, str, str | None, str, str]
"""What differs: `via`, `branch`, `from_`, `from_tag`, `to`, `to_tag`, `call_id` and `number` of
`UsualLines`."""

_VALUES: Final = {
    "via": ("via", "branch"),
    "from_": ("from_", "from_tag"),
    "to": ("to", "to_tag"),
    "call_id": ("call_id",),
    "number": ("number",),
}
"""What is not the same in all, by its outermost group, with all the groups in it."""
_MARKS: Final = [name for names in _VALUES.values() for name in names]
_INDEX: Final = {name: UsualLines._fields.index(name) + 1 for name in _MARKS}
_marks: Callable[[Found], Marks] = itemgetter(*_INDEX.values())
# Two dots in a row, which a usual message has nowhere, would have to be looked for in each. All is
# possessive, as no octet that may follow in a usual message can be one of these.
_TOKEN: Final = r"([A-Za-z0-9\-!%*_+`'~]++(?:\.[A-Za-z0-9\-!%*_+`'~]++)*+)"  # noqa: S105  lexical
_CALL_ID: Final = r"([!-\-/-~]++(?:\.[!-\-/-~]++)*+)"
_NUMBER: Final = "([0-9]{1,9}+)"
_NO_TAG: Final = "((?!))?"
"""A group that finds nothing, for a tag that is not there."""


class Shape:
    """What messages that differ in their marks and body alone have in common.

    Attributes:
        method: Of CSeq, which is that of a request.
        status: Status code of a response; 0 of a request.
        host: Of sent-by in the first Via.
        port: Likewise; None where it has none.
        one_via: Whether there is one Via only.
        special: Whether a line may ask for more than a plain answer: Require, Route ...
        plain: Whether it is a request that is answered where it came from and says no more than
            its marks: one Via without parameters but the branch, nothing special, SDP or no body.
        target: The URI of the Contact as it came, None without one.
    """

    __slots__ = ("host", "method", "one_via", "plain", "port", "special", "status", "target")

    def __init__(self, found: Found) -> None:
        (
            first, _, _, more_vias, _, _, host, port, before, _, after, _, _, _, _, _, _,
            method, length, content_type, contact, _, _, _, special,
        ) = found.groups()  # fmt: skip
        self.method: str = method
        self.host: str = host
        self.port = None if port is None else int(port)
        self.status = int(first) if first.isdigit() else 0
        self.one_via = more_vias is None
        self.special = special is not None
        self.plain = (
            self.one_via
            and not (self.status or before or after or self.special)
            and (content_type is not None or length == "0")
        )
        self.target = None if contact is None else _uri_in(contact)


Usual = tuple[Shape, Marks, bytes]
"""A message of the usual shape: what it has in common with others, its marks, and all of it."""


class LearnedShapes:
    """Finds usual messages, the quicker the more often they come.

    Args:
        limits: What is not taken as usual; see `usual_match`.
        after: Messages that look alike before a shape is made of one.
    """

    __slots__ = ("_after", "_limits", "_missed", "_shapes", "_to_learn")

    def __init__(self, limits: ParserLimits, *, after: int = LEARN_AFTER) -> None:
        self._after = after
        self._limits = limits
        self._to_learn = LEARNED
        self._missed: dict[bytes, int] = {}
        self._shapes: dict[bytes, tuple[_Learned, ...]] = {}

    def __len__(self) -> int:
        """Shapes that are known."""
        return sum(map(len, self._shapes.values()))

    def find(self, data: bytes) -> Usual | None:
        """The message if `usual_match` finds one in the data, else None."""
        alike = data[:EDGE] + data[-EDGE:]
        learned = self._shapes.get(alike)
        if learned is not None and len(data) <= self._limits.small:
            text = data.decode("latin-1")
            for match, ordered, shape in learned:
                marked = match(text)
                if marked is not None:
                    marks: Marks = marked.groups()
                    return shape, marks if ordered is None else ordered(marks), data
        found = usual_match(data, self._limits)
        if found is None:
            return None
        shape = Shape(found)
        if self._to_learn and shape.one_via and not shape.special and found.end() <= HEAD:
            self._note(alike, found, shape)
        return shape, _marks(found), data

    def _note(self, alike: bytes, found: Found, shape: Shape) -> None:
        """One more that was of no known shape."""
        missed = self._missed
        if len(missed) >= COUNTED:
            missed.clear()
        missed[alike] = count = missed.get(alike, 0) + 1
        if count >= self._after:
            del missed[alike]
            self._to_learn -= 1
            known = self._shapes.get(alike, ())
            self._shapes[alike] = (_learned(found, shape), *known[: OF_A_KIND - 1])


_Learned = tuple["Callable[[str], Any]", "Callable[[Any], Any] | None", Shape]
"""The match of a whole message, what puts its groups in the order of `Marks`, and the shape."""


def _learned(found: Found, shape: Shape) -> _Learned:
    text, end = found.string, found.end()
    values = sorted(_VALUES, key=lambda name: found.start(_INDEX[name]))
    pieces, at = [], 0
    for name in values:
        start, stop = found.span(_INDEX[name])
        pieces += [re.escape(text[at:start]), _pattern(found, name, start, stop)]
        at = stop
    pieces += [re.escape(text[at:end]), f"(?s:.{{{len(text) - end}}})"]
    ordered = None
    if values != [*_VALUES]:
        groups = [group for name in values for group in _VALUES[name]]
        ordered = itemgetter(*map(groups.index, _MARKS))
    return re.compile("".join(pieces)).fullmatch, ordered, shape


def _pattern(found: Found, name: str, start: int, stop: int) -> str:
    """What takes any value such as this, which is all the same but for its branch or tag."""
    if name == "call_id":
        return _CALL_ID
    if name == "number":
        return _NUMBER
    _, within = _VALUES[name]
    text, (mark, behind) = found.string, found.span(_INDEX[within])
    if mark < 0:
        return f"({re.escape(text[start:stop])}{_NO_TAG})"
    return f"({re.escape(text[start:mark])}{_TOKEN}{re.escape(text[behind:stop])})"


def _uri_in(contact: str) -> str:
    start = contact.rfind("<")
    return contact.partition(";")[0] if start < 0 else contact[start + 1 : contact.rfind(">")]
