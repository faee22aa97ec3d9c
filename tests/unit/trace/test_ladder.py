from __future__ import annotations

import pytest

from callmeter.trace.ladder import ladder
from callmeter.trace.message_log import MessageLog

ALICE, BOB, CAROL = "192.0.2.1:5060", "192.0.2.2:5060", "192.0.2.3:5060"
SDP = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
CRYPTO = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\r\n"


def octets(start, cseq="1 INVITE", body="", kind="application/sdp"):
    return (
        f"{start}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n"
        "From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>\r\n"
        f"Call-ID: one@example.com\r\nCSeq: {cseq}\r\n"
        + (f"Content-Type: {kind}\r\n" if body else "")
        + f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


INVITE = "INVITE sip:bob@example.com SIP/2.0"


class Wire:
    def __init__(self):
        self.log = MessageLog()

    def add(self, at, direction, raw, local=ALICE, peer=BOB):
        self.log.add(raw=raw, time=at, direction=direction, transport="UDP", local=local, peer=peer)

    def lines(self, **arguments):
        return ladder(self.log, **arguments).split("\n")


@pytest.fixture
def wire():
    return Wire()


def captions(wire, **arguments):
    return [line[15:].strip("|<>- ") for line in wire.lines(**arguments)[1:]]


def note(wire, body, kind="application/sdp"):
    wire.add(0, "sent", octets(INVITE, body=body, kind=kind))
    return captions(wire)[0].removeprefix("INVITE sip:bob@example.com").strip()


def test_a_call_is_drawn_in_one_line_a_message(wire):
    wire.add(100.0, "sent", octets(INVITE, body=SDP + "m=audio 4000 RTP/SAVP 0\r\n" + CRYPTO))
    wire.add(100.0625, "received", octets("SIP/2.0 180 Ringing"))
    wire.add(101.5, "received", octets("SIP/2.0 200 OK"))
    wire.add(110.0, "received", octets("BYE sip:alice@192.0.2.1 SIP/2.0", "2 BYE"))
    wire.add(110.0, "sent", octets("SIP/2.0 200 OK", "2 BYE"))
    assert wire.lines(width=80, names={ALICE: "alice", BOB: "bob"}) == [
        "             alice                                                          bob",
        "        192.0.2.1:5060                                           192.0.2.2:5060",
        "    0.000      |- INVITE sip:bob@example.com (SDP: RTP/SAVP crypto) --------->|",
        "    0.062      |<- 180 Ringing -----------------------------------------------|",
        "    1.500      |<- 200 OK ----------------------------------------------------|",
        "   10.000      |<- BYE sip:alice@192.0.2.1 -----------------------------------|",
        "   10.000      |- 200 OK (BYE) ---------------------------------------------->|",
    ]


@pytest.mark.parametrize("width", [80, 96, 100, 120])
def test_lines_stay_within_the_width(wire, width):
    long = f"INVITE sip:{'b' * 200}@example.com SIP/2.0"
    wire.add(0, "sent", octets(long, body=SDP + "m=audio 4000 RTP/SAVP 0\r\n" + CRYPTO))
    wire.add(0, "sent", octets(long), peer=CAROL)
    wire.add(0, "received", octets(f"SIP/2.0 486 {'Busy ' * 50}"))
    for line in wire.lines(width=width, names={ALICE: "a" * 90, BOB: "b" * 90}):
        assert len(line) <= width


def test_a_caption_gives_way_bit_by_bit_as_room_gets_scarce(wire):
    wire.add(0, "sent", octets(INVITE, body=SDP + "m=audio 4000 RTP/SAVP 0\r\n" + CRYPTO))
    shown = [captions(wire, width=width)[0] for width in (100, 60, 42, 33)]
    assert shown == [
        "INVITE sip:bob@example.com (SDP: RTP/SAVP crypto)",
        "INVITE (SDP: RTP/SAVP crypto)",
        "INVITE (SDP)",
        "INVITE",
    ]


def test_a_caption_that_never_fits_is_cut(wire):
    wire.add(0, "received", octets("SIP/2.0 481 Call/Transaction Does Not Exist"))
    assert captions(wire, width=10)[0] == "481 Call…"


def test_parties_stand_in_the_order_they_are_met_and_arrows_pass_between(wire):
    wire.add(0, "sent", octets(INVITE))
    wire.add(1, "received", octets("SIP/2.0 200 OK"), peer=CAROL)
    heading, first, second = wire.lines()
    assert heading.split() == [ALICE, BOB, CAROL]
    assert first.count("|") == 3
    assert second.count("|") == 2
    assert "<- 200 OK" in second


def test_a_message_to_oneself_is_drawn_at_its_column(wire):
    wire.add(0, "sent", octets(INVITE), peer=ALICE)
    assert captions(wire) == ["INVITE sip:bob@example.com (to itself)"]


def test_what_both_ends_logged_is_drawn_once(wire):
    for at in (0, 1):
        wire.add(at, "sent", octets(INVITE))
        wire.add(at, "received", octets(INVITE), local=BOB, peer=ALICE)
    wire.add(2, "received", octets(INVITE), local=BOB, peer=ALICE)
    assert (
        captions(wire)
        == ["INVITE sip:bob@example.com"] + ["INVITE sip:bob@example.com (again)"] * 2
    )


def test_an_unreadable_message_is_drawn_as_such(wire):
    wire.add(0, "received", b"\x00\x01garbage")
    assert captions(wire) == ["unreadable, 9 octets"]


def test_no_messages_give_no_drawing():
    assert ladder([]) == ""


@pytest.mark.parametrize(
    ("media", "expected"),
    [
        ("m=audio 4000 RTP/AVP 0\r\n", "(SDP: RTP/AVP)"),
        ("m=audio 4000 RTP/SAVP 0\r\n" + CRYPTO, "(SDP: RTP/SAVP crypto)"),
        (
            "a=fingerprint:sha-256 AA\r\nm=audio 4000 UDP/TLS/RTP/SAVP 0\r\n",
            "(SDP: UDP/TLS/RTP/SAVP fingerprint)",
        ),
        ("a=inactive\r\nm=audio 4000 RTP/AVP 0\r\n", "(SDP: RTP/AVP inactive)"),
        ("m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n", "(SDP: RTP/AVP sendonly)"),
        ("m=audio 4 RTP/AVP 0\r\nm=video 0 RTP/AVP 9\r\n", "(SDP: RTP/AVP, RTP/AVP refused)"),
        ("", "(SDP: no stream)"),
    ],
)
def test_the_session_description_is_summed_up(wire, media, expected):
    assert note(wire, SDP + media) == expected


def test_a_session_description_that_cannot_be_read_is_said_to_be(wire):
    assert note(wire, "nonsense") == "(SDP unreadable)"


PART = "--b\r\nContent-Type: application/sdp\r\n\r\n" + SDP + "m=audio 4000 RTP/AVP 0\r\n\r\n"
NESTED = (
    "--c\r\nContent-Type: text/plain\r\n\r\nx\r\n--c\r\n"
    f"Content-Type: multipart/mixed;boundary=b\r\n\r\n{PART}--b--\r\n--c--\r\n"
)


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (PART + "--b--\r\n", "multipart/mixed;boundary=b", "(SDP: RTP/AVP)"),
        (
            NESTED,
            "multipart/mixed;boundary=c",
            "(SDP: RTP/AVP)",
        ),
        ("--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--", "multipart/mixed;boundary=b", ""),
        ("no boundary", "multipart/mixed", ""),
        ("text", "text/plain", ""),
    ],
)
def test_a_session_description_is_found_in_a_multipart_body(wire, body, kind, expected):
    assert note(wire, body, kind) == expected


def test_control_characters_and_secrets_do_not_reach_the_terminal():
    wire = Wire()
    wire.log = MessageLog(redact=False)
    wire.add(0, "sent", octets("INVITE sip:bob:pa55@example.com SIP/2.0"))
    wire.add(0, "received", octets("SIP/2.0 486 Busy \x1b[2J\x07"))
    drawing = ladder(wire.log)
    assert "pa55" not in drawing
    assert "\x1b" not in drawing
    assert "\x07" not in drawing
