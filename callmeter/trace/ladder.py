"""Ladder diagrams: who said what to whom and when, as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.errors import SdpSyntaxError, SipSyntaxError
from callmeter.sdp.parser import parse_description
from callmeter.sip.body import multipart
from callmeter.sip.message import Request, Response
from callmeter.trace.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from callmeter.sdp.description import MediaDescription, SessionDescription
    from callmeter.sip.body import Part
    from callmeter.sip.message import Message
    from callmeter.trace.message_log import LoggedMessage

__all__ = ["description_of", "ladder", "sdp_note"]

WIDTH: Final = 96
_TIME: Final = 9
_MIN_SPAN: Final = 16
_DIRECTIONS: Final = ("sendonly", "recvonly", "inactive")


def ladder(
    messages: Iterable[LoggedMessage],
    *,
    width: int = WIDTH,
    names: Mapping[str, str] | None = None,
) -> str:
    """Draw the messages of a call.

    One column per party, in the order they are met, one line per message with the seconds since
    the first. A message that both ends logged is drawn once, a repeated one is marked.

    Args:
        messages: Entries of a message log, in order.
        width: Characters a line may have; with many parties lines get longer all the same.
        names: What to call an address, `{"192.0.2.1:5060": "alice"}`.

    Returns:
        The drawing, without a line break at its end; empty when there are no messages.
    """
    entries = _once(messages)
    if not entries:
        return ""
    parties: list[str] = []
    for entry in entries:
        for party in (entry.sender, entry.receiver):
            if party not in parties:
                parties.append(party)
    span = max(_MIN_SPAN, (width - _TIME - 8) // max(1, len(parties) - 1))
    columns = [_TIME + 6 + span * index for index in range(len(parties))]
    names = names or {}
    lines = [_heading(parties, columns)]
    if names:
        lines.insert(0, _heading([names.get(party, "") for party in parties], columns).rstrip())
    seen: set[tuple[str, str, bytes]] = set()
    for entry in entries:
        key = (entry.sender, entry.receiver, entry.raw)
        lines.append(
            _row(
                f"{entry.time - entries[0].time:{_TIME}.3f}",
                columns,
                parties.index(entry.sender),
                parties.index(entry.receiver),
                _captions(entry, again=key in seen),
            )
        )
        seen.add(key)
    return "\n".join(lines)


def _once(messages: Iterable[LoggedMessage]) -> list[LoggedMessage]:
    """Leave out the receiver's entry of a message whose sender logged it too."""
    entries: list[LoggedMessage] = []
    under_way: dict[tuple[str, str, bytes], int] = {}
    for entry in messages:
        key = (entry.sender, entry.receiver, entry.raw)
        if entry.direction == "sent":
            under_way[key] = under_way.get(key, 0) + 1
        elif under_way.get(key):
            under_way[key] -= 1
            continue
        entries.append(entry)
    return entries


def _heading(texts: Sequence[str], columns: Sequence[int]) -> str:
    """Texts centred over their columns; the last one ends with its column."""
    room = columns[1] - columns[0] - 2 if len(columns) > 1 else WIDTH
    line = ""
    for text, column in zip(texts, columns, strict=True):
        cut = _cut(_printable(text), room)
        start = column - len(cut) // 2
        if column == columns[-1] != columns[0]:
            start = column + 1 - len(cut)
        line = line.ljust(max(0, start)) + cut
    return line


def _row(
    time: str, columns: Sequence[int], sender: int, receiver: int, captions: Sequence[str]
) -> str:
    cells = list(" " * (columns[-1] + 1))
    for column in columns:
        cells[column] = "|"
    if sender == receiver:
        text = f" {captions[0]} (to itself)"
        line = "".join(cells[: columns[sender] + 1]) + text
        return time + line[len(time) :]
    left, right = sorted((columns[sender], columns[receiver]))
    room = right - left - 1
    caption = next((text for text in captions if len(text) <= room - 6), None)
    if caption is None:
        caption = _cut(captions[-1], room - 6)
    shaft = f"- {caption} ".ljust(room - 1, "-")
    cells[left + 1 : right] = f"{shaft}>" if sender < receiver else f"<{shaft}"
    return time + "".join(cells)[len(time) :]


def _captions(entry: LoggedMessage, *, again: bool) -> list[str]:
    """What to write on the arrow, the longest first."""
    message = entry.message
    mark = " (again)" if again else ""
    if isinstance(message, Request):
        uri = _printable(redact(str(message.uri).encode("utf-8", "replace")).decode("utf-8"))
        short = message.method
        long = f"{message.method} {uri}"
    elif isinstance(message, Response):
        short = f"{message.status} {_printable(message.reason)}".rstrip()
        method = message.cseq.method
        long = short if method == "INVITE" else f"{short} ({method})"
    else:
        return [f"unreadable, {len(entry.raw)} octets{mark}", f"unreadable{mark}"]
    note = sdp_note(message)
    if note is None:
        return [f"{long}{mark}", f"{short}{mark}"]
    return [
        f"{long} ({note}){mark}",
        f"{short} ({note}){mark}",
        f"{short} (SDP){mark}",
        f"{short}{mark}",
    ]


def sdp_note(message: Message) -> str | None:
    """`SDP: RTP/SAVP crypto` of a message with a session description, None of one without."""
    body = description_of(message)
    if body is None:
        return None
    try:
        description = parse_description(body)
    except SdpSyntaxError:
        return "SDP unreadable"
    streams = [_stream_note(description, media) for media in description.media]
    return "SDP: " + (", ".join(streams) or "no stream")


def _stream_note(description: SessionDescription, media: MediaDescription) -> str:
    words = [_printable(media.protocol)]
    if not media.port:
        words.append("refused")
    words += [
        name
        for name in ("crypto", "fingerprint", *_DIRECTIONS)
        if media.has_attribute(name) or (name != "crypto" and description.has_attribute(name))
    ]
    return " ".join(words)


def description_of(message: Message) -> bytes | None:
    """The session description in a message, in a multipart body too; None without one."""
    try:
        content_type = message.content_type
        if content_type is None or not message.body:
            return None
        if content_type.media_type == "application/sdp":
            return message.body
        parts = list(multipart(message))
        while parts:
            part: Part = parts.pop(0)
            if part.content_type.media_type == "application/sdp":
                return part.body
            parts += part.parts
    except SipSyntaxError:
        return None
    return None


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(0, room - 1)] + "…"
