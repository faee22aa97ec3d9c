"""The facts of a call, out of its messages and its media."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from callmeter.call_evidence import media_facts, signaling_facts
from callmeter.config import MediaConfig
from callmeter.trace.message_log import MessageLog

KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"


def sdp(port):
    return (
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
        f"m=audio {port} RTP/SAVP 0\r\na=crypto:{port} AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n"
    )


def message(start, *, body="", longer=0, method="INVITE"):
    return (
        f"{start}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
        f"To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n"
        f"Content-Type: application/sdp\r\nContent-Length: {len(body) + longer}\r\n\r\n{body}"
    ).encode()


INVITE = "INVITE sip:c@d SIP/2.0"
ACK = "ACK sip:c@d SIP/2.0"
OK = "SIP/2.0 200 OK"


@pytest.fixture
def facts():
    """What a log with these messages tells: each is its direction and its octets."""

    def tell(*entries, transport="UDP"):
        log = MessageLog()
        for direction, raw in entries:
            log.add(
                raw=raw, time=0.0, direction=direction, transport=transport, local="l", peer="p"
            )
        return signaling_facts(tuple(log))

    return tell


def tags(found):
    return tuple(
        None if found[name] is None else found[name].keys[0].tag for name in ("offer", "answer")
    )


def test_no_message_tells_nothing(facts):
    found = facts()
    assert (found["transport"], found["largest_datagram"], tags(found)) == ("", 0, (None, None))


def test_offer_and_answer_are_those_of_the_last_exchange(facts):
    exchange = [
        ("sent", message(INVITE, body=sdp(1000))),
        ("sent", message(INVITE, body=sdp(1000))),
        ("received", message("SIP/2.0 488 Not Acceptable Here", body=sdp(999))),
        ("sent", message(INVITE, body=sdp(1001))),
        ("received", message("SIP/2.0 180 Ringing")),
        ("received", message(OK, body=sdp(1002))),
        ("received", message(OK, body=sdp(1002))),
        ("sent", message(ACK, method="ACK")),
    ]
    found = facts(*exchange)
    assert tags(found) == (1001, 1002)
    assert found["offered_here"] is True
    found = facts(*exchange, ("received", message(INVITE, body=sdp(2000))))
    assert tags(found) == (2000, None)
    assert found["offered_here"] is False


def test_an_offer_may_come_in_the_response_and_the_answer_in_the_ack(facts):
    found = facts(
        ("sent", message(INVITE)),
        ("received", message(OK, body=sdp(1))),
        ("received", message(OK, body=sdp(1))),
        ("sent", message(ACK, body=sdp(2), method="ACK")),
    )
    assert tags(found) == (1, 2)
    assert found["offered_here"] is False


def test_the_longest_datagram_counts_as_it_was_on_the_wire(facts):
    short, long = message(INVITE, body=sdp(1)), message(OK, body=sdp(1) + "a=x\r\n" * 300)
    assert facts(("sent", short), ("received", long))["largest_datagram"] == len(long)
    assert facts(("sent", long), transport="TLS")["largest_datagram"] == 0


@pytest.mark.parametrize(
    ("direction", "longer", "found"),
    [("received", 0, False), ("received", 7, True), ("received", -7, True), ("sent", 7, False)],
)
def test_a_content_length_that_lies_is_found_in_what_came(facts, direction, longer, found):
    body = sdp(1)
    expected = (len(body) + longer, len(body)) if found else None
    entry = message(OK, body=body, longer=longer)
    assert facts((direction, entry))["content_length"] == expected


def test_a_message_without_a_length_or_an_end_is_not_judged(facts):
    bare = message(OK).replace(b"Content-Length: 0\r\n", b"")
    assert facts(("received", bare))["content_length"] is None
    assert facts(("received", b"SIP/2.0 200 OK\r\n"))["content_length"] is None


def test_media_that_has_not_begun_tells_the_settings_alone():
    media = SimpleNamespace(
        config=MediaConfig(),
        statistics=SimpleNamespace,
        warnings=["given up"],
        keying="none",
        suite=None,
        codec=None,
        video=None,
    )
    found = media_facts(media)
    assert found["warnings"] == ("given up",)
    assert "direction" not in found


BYE = "BYE sip:a@b SIP/2.0\r\nReason: Q.850;cause=88\r\nReason: SIP;cause=488"


def test_the_reason_of_the_peers_bye_is_told(facts):
    bye = message(BYE, method="BYE")
    assert facts(("received", bye))["bye_reason"] == "Q.850;cause=88, SIP;cause=488"
    assert facts(("sent", bye))["bye_reason"] == ""
    assert facts(("received", message(INVITE)), ("received", message(OK)))["bye_reason"] == ""


def test_a_reason_without_end_is_cut(facts):
    bye = message(f"BYE sip:a@b SIP/2.0\r\nReason: SIP;text={'x' * 999}", method="BYE")
    assert len(facts(("received", bye))["bye_reason"]) == 200
