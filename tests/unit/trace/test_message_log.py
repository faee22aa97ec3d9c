from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from callmeter.sip.parser import parse_message
from callmeter.trace.message_log import MessageLog

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"
SDP = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    f"m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n"
)


def octets(start, *, call_id="one@example.com", cseq="1 INVITE", body="", length=None, extra=""):
    length = len(body) if length is None else length
    return (
        f"{start}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n"
        f"From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>\r\n"
        f"Call-ID: {call_id}\r\nCSeq: {cseq}\r\n{extra}"
        + ("Content-Type: application/sdp\r\n" if body else "")
        + f"Content-Length: {length}\r\n\r\n{body}"
    ).encode()


INVITE = octets("INVITE sip:bob@example.com SIP/2.0", body=SDP)
TRYING = octets("SIP/2.0 100 Trying")
OK = octets("SIP/2.0 200 OK", body=SDP)
BYE = octets("BYE sip:bob@example.com SIP/2.0", cseq="2 BYE")
BYE_OK = octets("SIP/2.0 200 OK", cseq="2 BYE")
OTHER = octets("OPTIONS sip:carol@example.com SIP/2.0", call_id="two", cseq="1 OPTIONS")


def add(log, raw, direction="sent", at=1.0, **more):
    return log.add(
        raw=raw,
        time=at,
        direction=direction,
        transport="UDP",
        local="192.0.2.1:5060",
        peer="192.0.2.2:5060",
        **more,
    )


@pytest.fixture
def log():
    log = MessageLog()
    for raw, direction in (
        (INVITE, "sent"),
        (TRYING, "received"),
        (OTHER, "received"),
        (OK, "received"),
        (BYE, "sent"),
        (BYE_OK, "received"),
    ):
        add(log, raw, direction)
    return log


def test_entries_come_back_in_order_with_their_ends(log):
    assert len(log) == 6
    first, second, *_ = log
    assert (first.sender, first.receiver) == ("192.0.2.1:5060", "192.0.2.2:5060")
    assert (second.sender, second.receiver) == ("192.0.2.2:5060", "192.0.2.1:5060")
    assert first == log[0]
    assert log[-1].start_line == "SIP/2.0 200 OK"


def test_filters_pick_by_call_kind_and_side_and_chain(log):
    assert len(log.of_call("one@example.com")) == 5
    assert [entry.start_line for entry in log.of_call("two")] == [
        "OPTIONS sip:carol@example.com SIP/2.0"
    ]
    assert len(log.of_call("three")) == 0
    assert log.received().of_call("two") == log.of_call("two")
    assert len(log.requests()) == 3
    assert len(log.requests("INVITE")) == 1
    assert len(log.responses()) == 3
    assert len(log.responses(200)) == 2
    assert len(log.sent()) == 2
    assert len(log.received().requests()) == 1
    assert log.of_call("one@example.com").responses(200)[1].message.cseq.method == "BYE"


def test_secrets_are_neither_kept_nor_shown():
    log = MessageLog()
    entry = add(log, INVITE, message=parse_message(INVITE))
    for shown in (entry.raw, pickle.dumps(log[0])):
        assert KEY.encode() not in shown
    assert KEY not in f"{entry!r}{entry.text}{log.to_text()}{log!r}"
    assert "[redacted 40 characters]" in entry.text


def test_a_log_may_keep_secrets_and_yet_does_not_print_them():
    log = MessageLog(redact=False)
    entry = add(log, INVITE)
    assert entry.raw == INVITE
    assert KEY not in f"{entry!r}{entry.text}{log.to_text()}{entry.start_line}"


def test_a_shortened_body_still_parses():
    entry = add(MessageLog(), INVITE)
    assert entry.message.method == "INVITE"
    assert entry.message.body == entry.raw.partition(b"\r\n\r\n")[2]
    assert f"Content-Length: {len(SDP)}" in entry.text


def test_a_content_length_that_was_wrong_stays_wrong():
    entry = add(MessageLog(), octets("SIP/2.0 200 OK", body=SDP, length=len(SDP) + 1))
    assert entry.message is None
    entry = add(MessageLog(), octets("SIP/2.0 200 OK", body=SDP, length=3))
    assert len(entry.message.body) == 0


def test_the_typed_view_is_made_once(log):
    assert log[0].message is log[0].message


@pytest.mark.parametrize("raw", [b"", b"\r\n\r\n", b"\xff\xfe", b"INVITE", TRYING[:60]])
def test_what_no_parser_takes_is_logged_all_the_same(raw):
    log = MessageLog()
    entry = add(log, raw, "received")
    assert entry.message is None
    assert entry.call_id == ""
    assert list(log.requests()) == list(log.responses()) == []
    assert len(log.received()) == 1
    assert isinstance(log.to_text(), str)


@pytest.mark.parametrize("written", ["i: one", "CALL-ID :one", "Call-ID:\r\n one"])
def test_the_call_id_is_found_however_it_is_written(written):
    raw = TRYING.replace(b"Call-ID: one@example.com", written.encode())
    assert add(MessageLog(), raw).call_id == "one"


def test_the_call_id_of_a_message_at_hand_is_taken_from_it():
    assert add(MessageLog(), b"x", message=parse_message(TRYING)).call_id == "one@example.com"


def test_the_oldest_go_when_the_log_is_full_and_are_counted():
    log = MessageLog(3)
    for at in range(5):
        add(log, TRYING, at=float(at))
    assert [entry.time for entry in log] == [2.0, 3.0, 4.0]
    assert log.dropped == 2
    assert repr(log) == "<MessageLog 3 messages, 2 dropped>"


def test_octets_are_bounded_too():
    log = MessageLog(octets=3 * len(TRYING))
    for _ in range(5):
        add(log, TRYING)
    assert (len(log), log.dropped) == (3, 2)
    add(log, bytes(4 * len(TRYING)))
    assert (len(log), log.dropped) == (0, 6)


def test_clearing_makes_room_and_keeps_the_count():
    log = MessageLog(1)
    add(log, TRYING)
    add(log, TRYING)
    log.clear()
    assert (len(log), log.dropped) == (0, 1)
    add(log, TRYING)
    assert (len(log), log.dropped) == (1, 1)


def test_the_log_may_grow_while_it_is_read(log):
    for _ in log:
        add(log, TRYING)
    assert len(log) == 12


def test_the_text_says_when_and_where_before_each_message(log):
    text = log.of_call("two").to_text()
    assert text.startswith("--- 1.000000 received UDP 192.0.2.2:5060 -> 192.0.2.1:5060\nOPTIONS ")
    assert "\r" not in text


def test_a_message_whose_time_of_day_is_known_shows_it_as_text(log):
    (entry,) = log.of_call("two")
    shown = str(replace(entry, wall=1_700_000_000.25))
    assert shown.startswith("--- 2023-11-14T22:13:20.250000+00:00 received UDP 192.0.2.2:5060 -> ")


def test_a_call_keeps_those_of_its_messages_that_the_log_keeps():
    log = MessageLog(entries=3)
    for raw in (INVITE, OTHER, TRYING, OK, BYE):
        add(log, raw)
    assert [entry.start_line for entry in log.of_call("one@example.com")] == [
        entry.start_line for entry in log
    ]
    assert log.of_call("two") == ()
    log.clear()
    assert log.of_call("one@example.com") == ()


def test_a_message_for_other_programs_has_stand_ins_and_the_lengths_of_the_wire():
    entry = add(MessageLog(), INVITE)
    assert entry.filled == INVITE.replace(KEY.encode(), b"x" * len(KEY))
    body = SDP + "a=ice-pwd:0123456789abcdefghijkl\r\n"
    entry = add(MessageLog(), octets("SIP/2.0 200 OK", body=body))
    head, _, rest = entry.filled.partition(b"\r\n\r\n")
    assert b"0123456789" not in rest
    assert b"Content-Length: %d" % len(rest) in head
