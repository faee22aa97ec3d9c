"""What a failed test prints of a call: what was found, the diagnosis, and the ladder."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from callmeter.metrics.report import FindingStatus
from callmeter.testing.phones import PhoneMedia
from callmeter.trace.ladder import ladder
from callmeter.uri_settings import setting_uri

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from callmeter.call import Call
    from callmeter.testing.phones import Phone
    from callmeter.trace.message_log import LoggedMessage

__all__ = ["diagnosis_text", "explanation", "ladder_of", "messages_of", "named", "title_of"]

BAD: Final = (FindingStatus.FAIL, FindingStatus.WARN)
NOTHING_FOUND: Final = "no check found anything wrong"
LABEL: Final = 10
WIDTH: Final = 76


def explanation(
    call: Call | None,
    found: str,
    expected: str,
    *more: tuple[str, str],
    nothing_found: str = NOTHING_FOUND,
) -> str:
    """The text of an assertion that fails.

    Args:
        call: What it is about, if it is known.
        found: What is the case, to be read after the name of the call.
        expected: What should be.
        more: Labels and texts of further lines.
        nothing_found: What to say of a diagnosis without a finding that is bad.
    """
    lines = [f"{'the call' if call is None else title_of(call)} {found}", ""]
    for label, text in (("expected", expected), *more):
        lines += _labelled(label, text)
    if call is not None:
        lines += ["", *diagnosis_text(call, nothing_found), "", *ladder_of(call).splitlines()]
    return "\n".join(lines)


def title_of(call: Call) -> str:
    """`the call of alice with bob`."""
    uri = setting_uri("remote", call.remote)
    if not isinstance(call.media, PhoneMedia):
        return f"the call with {uri}"
    phone = call.media.phone
    users = {other.aor_user for other in phone.phones}
    return f"the call of {phone.aor_user} with {uri.user if uri.user in users else uri}"


def diagnosis_text(call: Call, nothing_found: str = NOTHING_FOUND) -> Iterator[str]:
    """What the checks of every end found, in lines that fit a terminal.

    Args:
        call: One end of the call.
        nothing_found: What to say where none of it is bad.
    """
    told = False
    for end, seen_by in _ends(call):
        findings = [each for each in end.diagnosis() if each.status in BAD]
        for finding in sorted(findings, key=lambda each: BAD.index(each.status)):
            told = True
            text = f"{seen_by}{finding.check}: {finding.detail}"
            yield from _labelled(finding.status.value.upper(), text)
            yield from _labelled("", f"-> {finding.remedy}")
    if not told:
        yield from _labelled("diagnosis", nothing_found)


def _ends(call: Call) -> Iterator[tuple[Call, str]]:
    """This end of a call, then the others that are phones of the same test."""
    yield call, ""
    if isinstance(call.media, PhoneMedia):
        for phone in call.media.phone.phones:
            for other in phone.every_call:
                if other is not call and other.call_id == call.call_id:
                    yield other, f"{phone.aor_user} found "


def ladder_of(call: Call) -> str:
    """Who said what."""
    return ladder(messages_of(call))


def messages_of(call: Call) -> list[LoggedMessage]:
    """The messages of a call as every end of the test saw them, with names for addresses."""
    if not isinstance(call.media, PhoneMedia):
        return call.messages
    identifiers = dict.fromkeys(message.call_id for message in call.messages)
    messages = [
        named(entry, phone)
        for phone in call.media.phone.phones
        for identifier in identifiers
        for entry in phone.messages.of_call(identifier)
    ]
    return sorted(messages, key=lambda entry: entry.time)


def named(entry: LoggedMessage, phone: Phone) -> LoggedMessage:
    """The entry with names in place of addresses."""
    return replace(entry, local=phone.aor_user, peer=phone.phones.name_of(entry.peer))


def _labelled(label: str, text: str) -> Iterable[str]:
    for line, head in zip_longest(wrap(text, WIDTH) or [""], [label], fillvalue=""):
        yield f"  {head:<{LABEL}}  {line}".rstrip()
