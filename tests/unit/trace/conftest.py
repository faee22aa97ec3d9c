from __future__ import annotations

from html.parser import HTMLParser

import pytest

from callmeter.metrics.phases import Outcome, Phase
from callmeter.metrics.report import (
    CallReport,
    Finding,
    FindingStatus,
    Keying,
    SignalingReport,
    StreamReport,
    TlsReport,
)
from callmeter.metrics.series import StreamSeries
from callmeter.metrics.signaling import CallTiming
from callmeter.trace.message_log import MessageLog

ALICE, BOB = "192.0.2.1:5060", "192.0.2.2:5060"
VOID = {"br", "col", "hr", "link", "meta"}


class Page(HTMLParser):
    """A page taken apart; it fails where an element is not closed."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open = []
        self.elements = []
        self.data = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in {"script", "style"}:
            self.data.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.data).split())

    def of(self, tag, **attributes):
        return [
            found
            for name, found in self.elements
            if name == tag and attributes.items() <= found.items()
        ]


@pytest.fixture
def page():
    return Page


class Wire:
    """A log with the messages of one call."""

    def __init__(self):
        self.log = MessageLog()

    def add(self, at, direction, raw, *, local=ALICE, peer=BOB, transport="UDP", wall=None):
        raw = raw.encode() if isinstance(raw, str) else raw
        self.log.add(
            raw=raw,
            time=at,
            direction=direction,
            transport=transport,
            local=local,
            peer=peer,
            wall=wall,
        )

    def request(self, at, direction, start, body="", *, cseq=None, headers="", **where):
        cseq = cseq or f"1 {start.split()[0]}"
        self.add(at, direction, message(start, body, cseq, headers), **where)

    def response(self, at, direction, status, body="", *, cseq="1 INVITE", headers="", **where):
        self.add(at, direction, message(f"SIP/2.0 {status}", body, cseq, headers), **where)


def message(start, body, cseq, headers):
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return (
        f"{start}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n"
        "From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>;tag=b\r\n"
        f"Call-ID: one@example.com\r\nCSeq: {cseq}\r\n{headers}{kind}"
        f"Content-Length: {len(body.encode())}\r\n\r\n{body}"
    )


@pytest.fixture
def wire():
    return Wire()


def course(count, **changes):
    """Series of so many seconds."""
    at = tuple(1000.0 * (place + 1) for place in range(count))
    flat = tuple(50.0 for _ in at)
    return StreamSeries(
        at_ms=at,
        send={"packets_sent_rate_ps": flat, "bytes_sent_rate_bps": tuple(64e3 for _ in at)},
        receive={
            "packets_recv_rate_ps": flat,
            "fraction_lost": tuple(0.0 for _ in at),
            "jitter_ms": tuple(2.0 + place % 7 / 3 for place in range(count)),
            **changes,
        },
    )


@pytest.fixture(name="course")
def make_course():
    return course


@pytest.fixture
def call():
    """A secure call that went well: `call(outcome=...)` changes fields of it."""

    def build(**changes):
        stream = StreamReport(
            codec="PCMU",
            profile="RTP/SAVP",
            keying=Keying.SDES,
            suite="AES_CM_128_HMAC_SHA1_80",
            local="192.0.2.1:40000",
            remote="192.0.2.2:40002",
            send={"packets_sent": 1500, "fraction_lost": 0.0},
            receive={"packets_received": 1450, "fraction_lost": 3.33333, "jitter_ms": 45.21},
            series=course(30),
        )
        fields = {
            "phase": Phase.CLOSED,
            "outcome": Outcome.SUCCESS,
            "final_status_code": 200,
            "party": "sip:bob@example.com",
            "signaling": SignalingReport(
                transport="TLS",
                local="192.0.2.1:5061",
                remote="192.0.2.2:5061",
                tls=TlsReport(version="TLSv1.3", cipher="TLS_AES_128_GCM_SHA256", verified=True),
            ),
            "timing": CallTiming(call_setup_time_ms=812.0, call_duration_ms=30e3),
            "media": (stream,),
            "counters": {"hold_count": 1},
            "diagnosis": (
                Finding("tls_verified", FindingStatus.PASS, "verified by the system"),
                Finding("roc_consistent", FindingStatus.SKIP, "it never wrapped"),
            ),
        }
        return CallReport(**{**fields, **changes})

    return build
