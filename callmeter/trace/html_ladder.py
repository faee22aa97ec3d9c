"""The messages of a call as a ladder in a page: each opens to show what was said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from callmeter.sip.message import Request, Response
from callmeter.trace.ladder import description_of, sdp_note
from callmeter.trace.markup import Markup, element, joined, visible
from callmeter.trace.redaction import redact
from callmeter.trace.sdp_changes import Change, SdpLine, sdp_changes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from callmeter.trace.message_log import LoggedMessage

__all__ = ["HtmlLadder"]

BUDGET: Final = 550_000
"""Octets of markup that all messages may take together, and those that open."""
BODY_BUDGET: Final = 350_000
MAX_PARTIES: Final = 6
"""Columns; the last one is for all the others."""
OTHERS: Final = "others"
_URI_MAX: Final = 60
_CLASSES: Final = ("info", "ok", "moved", "bad", "bad", "bad")
"""By the first digit of a status code."""

_ELEMENTS: Final = {Change.KEPT: "span", Change.ADDED: "ins", Change.REMOVED: "del"}
_CHALLENGES: Final = {401, 407}
"""Questions, and no refusals."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A message and what is said of it."""

    entry: LoggedMessage
    again: bool
    lines: list[SdpLine] | None
    described_before: bool

    @property
    def changes(self) -> int:
        """How many lines of its session description are not as before."""
        return sum(line.change is not Change.KEPT for line in self.lines or ())


class HtmlLadder:
    """A ladder of messages as markup.

    Args:
        messages: Entries of a message log.
    """

    def __init__(self, messages: Sequence[LoggedMessage]) -> None:
        self._entries = sorted(messages, key=lambda entry: entry.time)
        self._parties = _parties(self._entries)
        self._left = BUDGET
        self._bodies_left = BODY_BUDGET

    def styles(self) -> str:
        """Where the columns of these parties are."""
        width = len(self._parties)
        between = f"repeat({2 * width - 2},minmax(0,1fr)) " if width > 1 else ""
        rules = [f".lanes{{grid-template-columns:var(--edge) {between}var(--edge)}}"]
        for index in range(width):
            rules.append(f".l{index}{{grid-column:{2 * index + 2}}}")
            rules.append(f".h{index}{{grid-column:{2 * index + 1}/span 2}}")
        spans = {self._span(entry) for entry in self._entries}
        rules += [
            f".a{first}-{last}{{grid-column:{2 * first + 2}/{2 * last + 2 + (first == last)}}}"
            for first, last in sorted(spans)
        ]
        return "".join(rules)

    def markup(self) -> Markup:
        """The ladder."""
        if not self._entries:
            return element("p", "No message was logged.", class_="quiet")
        rows: list[Markup] = []
        for number, row in enumerate(_rows(self._entries)):
            made = self._row(number, row)
            self._left -= len(made.encode())
            if self._left < 0:
                break
            rows.append(made)
        parts = [self._heading(), element("ol", *rows, class_="messages")]
        left_out = len(self._entries) - len(rows)
        if left_out:
            words = f"{left_out:,} later messages are left out: this page is kept small."
            parts.append(element("p", words, class_="quiet left-out"))
        crowded = " crowded" if len(self._parties) > 2 else ""  # noqa: PLR2004  both ends
        return element("div", *parts, class_=f"ladder{crowded}")

    # parties

    def _place(self, party: str) -> int:
        """The column of an address."""
        known = party in self._parties
        return self._parties.index(party) if known else len(self._parties) - 1

    def _span(self, entry: LoggedMessage) -> tuple[int, int]:
        ends = sorted((self._place(entry.sender), self._place(entry.receiver)))
        return ends[0], ends[1]

    def _heading(self) -> Markup:
        own = {entry.local for entry in self._entries}
        programs = _programs(self._entries)
        heads = [
            element(
                "span",
                element("b", "This side" if party in own else "Peer"),
                element("span", programs.get(party), class_="program") if party in programs else "",
                element("span", party, class_="mono"),
                class_=f"party h{index}{self._edge(index)}",
            )
            for index, party in enumerate(self._parties)
        ]
        return element("div", element("span", *heads, class_="lanes"), class_="parties")

    def _edge(self, index: int) -> str:
        """The outer columns are narrower than the inner ones: a name there keeps to its line."""
        if index == 0:
            return " first"
        return " last" if index == len(self._parties) - 1 else ""

    # rows

    def _row(self, number: int, row: _Row) -> Markup:
        entry = row.entry
        first, last = self._span(entry)
        way = "right" if self._place(entry.sender) == first else "left"
        if first == last:
            way = "self"
        caption, kind = _caption(entry)
        arrow = element(
            "span",
            element("span", caption, _chips(row), class_="caption"),
            element("span", class_="shaft", aria_hidden="true"),
            class_=f"arrow {way} a{first}-{last}",
        )
        lives = [
            element("i", class_=f"life l{index}", aria_hidden="true")
            for index in range(len(self._parties))
        ]
        origin = f"{entry.direction} over {entry.transport}, {entry.sender} to {entry.receiver}"
        summary = element(
            "summary",
            element("span", f"{entry.time - self._entries[0].time:.3f}", class_="at"),
            element("span", *lives, arrow, class_="lanes"),
            element("span", f", {origin}", class_="unseen"),
        )
        body = self._within_budget(element("div", _facts(entry), _message(row), class_="opened"))
        return element(
            "li",
            element("details", summary, body),
            class_=f"message {entry.direction} {kind}",
            id=f"message-{number + 1}",
        )

    def _within_budget(self, body: Markup) -> Markup:
        self._bodies_left -= len(body.encode())
        if self._bodies_left >= 0:
            return body
        return element(
            "p",
            "Left out: this page is kept small. callmeter call --trace FILE has it.",
            class_="opened quiet",
        )


def _parties(entries: Sequence[LoggedMessage]) -> list[str]:
    """The addresses, own ones first."""
    own = [entry.local for entry in entries]
    found = list(dict.fromkeys(own + [entry.peer for entry in entries]))
    return found if len(found) <= MAX_PARTIES else [*found[: MAX_PARTIES - 1], OTHERS]


def _programs(entries: Sequence[LoggedMessage]) -> dict[str, str]:
    """What the parties call themselves, by address."""
    found: dict[str, str] = {}
    for entry in entries:
        message = entry.message
        if message is None or entry.sender in found:
            continue
        for name in ("User-Agent", "Server"):
            said = message.headers.get(name)
            if said:
                found[entry.sender] = _cut(_without_secrets(said))
    return found


def _rows(entries: Sequence[LoggedMessage]) -> Iterator[_Row]:
    seen: set[tuple[str, str, bytes]] = set()
    before: dict[str, list[str]] = {}
    for entry in entries:
        key = (entry.sender, entry.receiver, entry.raw)
        again = key in seen
        seen.add(key)
        lines = _sdp_lines(entry)
        if lines is None:
            yield _Row(entry, again, None, described_before=False)
            continue
        side = _side(entry)
        previous = before.get(side)
        before[side] = lines
        yield _Row(entry, again, sdp_changes(previous, lines), previous is not None)


def _sdp_lines(entry: LoggedMessage) -> list[str] | None:
    message = entry.message
    body = None if message is None else description_of(message)
    if body is None:
        return None
    return redact(body).decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n").split("\n")


def _side(entry: LoggedMessage) -> str:
    """Whose description it is: ours, or that of one of the peers that may answer (forking)."""
    if entry.direction == "sent" or entry.message is None:
        return "own"
    message = entry.message
    party = message.from_ if isinstance(message, Request) else message.to
    return f"peer {party.tag}"


def _caption(entry: LoggedMessage) -> tuple[Markup, str]:
    """What stands on the arrow, and the class of the row."""
    message = entry.message
    if isinstance(message, Request):
        uri = _cut(_without_secrets(str(message.uri)))
        return joined([element("b", message.method), element("span", uri, class_="uri")]), "request"
    if isinstance(message, Response):
        words = f"{message.status} {message.reason}".rstrip()
        asked = message.status in _CHALLENGES
        kind = "moved" if asked else _CLASSES[min(message.status // 100, 6) - 1]
        answered = element("span", f"to {message.cseq.method}", class_="uri")
        return joined([element("b", _cut(words)), answered]), kind
    return element("b", f"Unreadable, {len(entry.raw)} octets"), "bad"


def _chips(row: _Row) -> Markup:
    message = row.entry.message
    note = None if message is None else sdp_note(message)
    chips = []
    if note is not None:
        chips.append(element("span", _cut(note), class_="chip"))
    if row.changes:
        noun = "line" if row.changes == 1 else "lines"
        chips.append(element("span", f"{row.changes} {noun} changed", class_="chip changed"))
    if row.again:
        chips.append(element("span", "sent again", class_="chip changed"))
    return joined(chips)


def _facts(entry: LoggedMessage) -> Markup:
    octets = f"{len(entry.raw) + entry.shortened:,} octets"
    when = [] if entry.wall is None else [_clock(entry.wall)]
    words = [
        f"{entry.direction.capitalize()} over {entry.transport}",
        f"{entry.sender} → {entry.receiver}",
        *when,
        octets,
    ]
    return element("p", " · ".join(words), class_="facts")


def _clock(wall: float) -> str:
    moment = datetime.fromtimestamp(wall, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"


def _message(row: _Row) -> Markup:
    """The text of a message, its headers told apart and its description compared."""
    text = row.entry.text.replace("\r\n", "\n")
    head, gap, body = text.partition("\n\n")
    start, _, headers = head.partition("\n")
    parts: list[Markup | str] = [element("b", start), "\n"]
    for line in headers.split("\n") if headers else ():
        name, colon, value = line.partition(":")
        named = colon and not line.startswith((" ", "\t"))
        parts.append(joined([element("span", name, class_="name"), ":", value]) if named else line)
        parts.append("\n")
    note: Markup | None = None
    if row.lines is None:
        parts += [gap[:1], body]
    else:
        parts += [gap[:1], *_body(body, row.lines)]
        note = _note(row, body)
    return joined([note, element("pre", *parts, tabindex="0")])


def _body(body: str, lines: list[SdpLine]) -> Iterator[Markup | str]:
    """A body with its description compared, wherever it stands in there."""
    said = "\n".join(line.text for line in lines if line.change is not Change.REMOVED)
    before, found, after = body.partition(said)
    if not found:
        yield body
        return
    yield before
    for line in lines:
        yield element(_ELEMENTS[line.change], line.text, class_="line")
    yield after.lstrip("\n")


def _note(row: _Row, body: str) -> Markup:
    if not row.described_before:
        words = "The first session description of this side."
    elif row.changes:
        words = "Marked: what differs from the session description of this side before."
    else:
        words = "The session description is the same as before."
    if "[redacted" in body:
        words += " Keys are left out: a new key alone does not show."
    return element("p", words, class_="note")


def _without_secrets(text: str) -> str:
    return redact(text.encode("utf-8", "replace")).decode("utf-8", "replace")


def _cut(text: str) -> str:
    text = visible(text)
    return text if len(text) <= _URI_MAX else text[: _URI_MAX - 1] + "…"
