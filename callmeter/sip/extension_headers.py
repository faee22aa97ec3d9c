"""Typed values of headers that extensions brought: RAck, Session-Expires, Replaces, Event.

As in `headers`, `parse(text)` raises `SipSyntaxError` and `str()` gives the wire text.
Refer-To and Referred-By are `NameAddr`s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from callmeter.errors import SipSyntaxError
from callmeter.sip.grammar import (
    TOKEN,
    Params,
    excerpt,
    find_param,
    param_text,
    parse_params,
    to_text,
    without_param,
)
from callmeter.sip.headers import MAX_CSEQ, MAX_METHOD, parse_delta_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MAX_RSEQ",
    "EventType",
    "RAck",
    "Replaces",
    "SessionExpires",
    "SubscriptionState",
    "parse_rseq",
    "parse_sipfrag_status",
]

MAX_RSEQ = 2**32 - 1

_NUMBER = re.compile(r"0*+([0-9]{1,10})")
_RACK = re.compile(rf"0*([0-9]{{1,10}})[ \t]++0*([0-9]{{1,10}})[ \t]++({TOKEN}++)")
_DELTA = re.compile(r"[0-9]++[ \t]*+(?=;|\Z)")
_CALL_ID = re.compile(r"[^\x00-\x20;,]++[ \t]*+(?=;|\Z)")
_EVENT = re.compile(rf"{TOKEN}++[ \t]*+(?=;|\Z)")
_STATUS_LINE = re.compile(rb"SIP/2\.0[ ]([1-6][0-9][0-9])[ ]([^\r\n]*+)", re.IGNORECASE)


def parse_rseq(text: str) -> int | None:
    """The number of an RSeq (RFC 3262 section 7.1), 1 to 2**32 - 1; None if it is none."""
    found = _NUMBER.fullmatch(text.strip(" \t"))
    number = 0 if found is None else int(found[1])
    return number if 1 <= number <= MAX_RSEQ else None


def parse_sipfrag_status(body: bytes) -> tuple[int, str] | None:
    """Status and reason of a message/sipfrag that starts with a Status-Line (RFC 3420)."""
    found = _STATUS_LINE.match(body)
    return None if found is None else (int(found[1]), found[2].decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class RAck:
    """Which provisional response a PRACK acknowledges (RFC 3262 section 7.2).

    Attributes:
        rseq: Its RSeq.
        cseq: Its CSeq number.
        method: Its CSeq method.
    """

    rseq: int
    cseq: int
    method: str

    @classmethod
    def parse(cls, text: bytes | str) -> Self:
        """Parse a RAck value.

        Raises:
            SipSyntaxError: It is malformed.
        """
        text = to_text(text).strip(" \t")
        found = _RACK.fullmatch(text)
        if (
            found is None
            or len(found[3]) > MAX_METHOD
            or int(found[1]) > MAX_RSEQ
            or int(found[2]) > MAX_CSEQ
        ):
            raise _malformed("RAck", "RFC 3262 section 7.2", text)
        return cls(int(found[1]), int(found[2]), found[3])

    def __str__(self) -> str:
        return f"{self.rseq} {self.cseq} {self.method}"


@dataclass(frozen=True, slots=True)
class SessionExpires:
    """The session interval (RFC 4028 section 4), also the value of a Min-SE.

    Attributes:
        seconds: The interval.
        refresher: Who refreshes, `"uac"` or `"uas"` of the transaction; None when not said.
        params: Other parameters, as written.
    """

    seconds: int
    refresher: str | None = None
    params: Params = ()

    @classmethod
    def parse(cls, text: bytes | str) -> Self:
        """Parse a Session-Expires or Min-SE value.

        Raises:
            SipSyntaxError: It is malformed.
        """
        text = to_text(text).strip(" \t")
        found = _DELTA.match(text)
        seconds = None if found is None else parse_delta_seconds(text)
        if found is None or seconds is None:
            raise _malformed("Session-Expires", "RFC 4028 section 4", text)
        params = parse_params(text, found.end())
        refresher = (find_param(params, "refresher") or "").lower()
        return cls(
            seconds,
            refresher if refresher in {"uac", "uas"} else None,
            without_param(params, "refresher"),
        )

    def __str__(self) -> str:
        refresher = "" if self.refresher is None else f";refresher={self.refresher}"
        return f"{self.seconds}{refresher}{param_text(self.params)}"


@dataclass(frozen=True, slots=True)
class Replaces:
    """Which dialog an INVITE takes the place of (RFC 3891 section 6.1).

    Attributes:
        call_id: Call-ID of the dialog.
        to_tag: Tag of the end that gets the INVITE.
        from_tag: Tag of the other end.
        early_only: Whether only an early dialog is meant.
    """

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    @classmethod
    def parse(cls, text: bytes | str) -> Self:
        """Parse a Replaces value.

        Raises:
            SipSyntaxError: It is malformed, or has not exactly one tag of each kind.
        """
        text = to_text(text).strip(" \t")
        found = _CALL_ID.match(text)
        if found is None:
            raise _malformed("Replaces", "RFC 3891 section 6.1", text)
        params = parse_params(text, found.end())
        names = [name.lower() for name, _ in params]
        to_tag, from_tag = find_param(params, "to-tag"), find_param(params, "from-tag")
        if not to_tag or not from_tag or names.count("to-tag") + names.count("from-tag") > 2:  # noqa: PLR2004  one each
            raise _malformed("Replaces", "RFC 3891 section 6.1", text)
        return cls(found[0].rstrip(" \t"), to_tag, from_tag, "early-only" in names)

    def __str__(self) -> str:
        early = ";early-only" if self.early_only else ""
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{early}"


@dataclass(frozen=True, slots=True)
class EventType:
    """The Event header: which package, and which of several subscriptions (RFC 6665 8.2.1).

    Attributes:
        package: The event package with its templates, such as `"dialog"`.
        id: Tells subscriptions of one dialog apart, None without.
    """

    package: str
    id: str | None = None

    @classmethod
    def parse(cls, text: bytes | str) -> Self:
        """Parse an Event value.

        Raises:
            SipSyntaxError: It is malformed.
        """
        text = to_text(text).strip(" \t")
        found = _EVENT.match(text)
        if found is None:
            raise _malformed("Event", "RFC 6665 section 8.2.1", text)
        return cls(
            found[0].rstrip(" \t"), find_param(parse_params(text, found.end()), "id") or None
        )

    def __str__(self) -> str:
        return self.package if self.id is None else f"{self.package};id={self.id}"


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """The Subscription-State of a NOTIFY (RFC 6665 section 8.2.3).

    Attributes:
        state: `"active"`, `"pending"`, `"terminated"` or an extension, in lower case.
        reason: Why it is terminated, in lower case, or None.
        expires: Seconds it has left, or None.
        retry_after: Seconds after which to subscribe again, or None.
    """

    state: str
    reason: str | None = None
    expires: int | None = None
    retry_after: int | None = None

    @classmethod
    def parse(cls, text: bytes | str) -> Self:
        """Parse a Subscription-State value.

        Raises:
            SipSyntaxError: It is malformed.
        """
        text = to_text(text).strip(" \t")
        found = _EVENT.match(text)
        if found is None:
            raise _malformed("Subscription-State", "RFC 6665 section 8.2.3", text)
        params = parse_params(text, found.end())
        return cls(
            found[0].rstrip(" \t").lower(),
            (find_param(params, "reason") or "").lower() or None,
            parse_delta_seconds(find_param(params, "expires") or ""),
            parse_delta_seconds(find_param(params, "retry-after") or ""),
        )

    def __str__(self) -> str:
        params: Iterable[tuple[str, object]] = (
            ("reason", self.reason),
            ("expires", self.expires),
            ("retry-after", self.retry_after),
        )
        return self.state + "".join(f";{n}={value}" for n, value in params if value is not None)


def _malformed(name: str, rfc: str, text: str) -> SipSyntaxError:
    return SipSyntaxError(f"malformed {name}", rfc=rfc, excerpt=excerpt(text))
