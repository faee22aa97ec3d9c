from __future__ import annotations

import pytest

from callmeter.errors import SipSyntaxError
from callmeter.sip.framing import KeepAlive, StreamFramer
from callmeter.sip.parser import ParserLimits

MESSAGE = (
    b"MESSAGE sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/TCP a.example;branch=z9hG4bK1\r\n"
    b"From: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\nCall-ID: c\r\n"
    b"CSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\na\r\n\r\nb"
)
BAD = MESSAGE.replace(b"CSeq: 1 MESSAGE", b"CSeq: 1 INVITE")
LOST = MESSAGE.replace(b"Content-Length: 6", b"Content-Length: -6")


def fed(framer, *chunks):
    return [getattr(item, "method", item) for chunk in chunks for item in framer.feed(chunk)]


def split(data):
    return [bytes((octet,)) for octet in data]


@pytest.fixture
def framer():
    return StreamFramer()


@pytest.mark.parametrize("size", [1, 2, 3, 50, len(MESSAGE) - 1, 10_000])
def test_chunks_make_no_difference(framer, size):
    data = MESSAGE * 3
    found = [m for at in range(0, len(data), size) for m in framer.feed(data[at : at + size])]
    assert [message.to_bytes() for message in found] == [MESSAGE] * 3
    assert not framer.pending


def test_a_chunk_that_is_one_usual_message_is_read_as_its_octets_are(framer):
    usual = MESSAGE.replace(b"Content-Type: text/plain", b"Max-Forwards: 70")
    (whole,) = framer.feed(bytearray(usual))
    (pieced,) = [message for octet in split(usual) for message in framer.feed(octet)]
    assert whole.to_bytes() == pieced.to_bytes() == usual
    assert (whole.headers, whole.body) == (pieced.headers, pieced.body)
    assert not framer.pending


def test_a_message_is_pending_from_its_first_octet_to_its_last(framer):
    assert not framer.pending
    for octet in split(MESSAGE[:-1]):
        assert framer.feed(octet) == []
        assert framer.pending
    assert len(framer.feed(MESSAGE[-1:])) == 1
    assert not framer.pending


@pytest.mark.parametrize("chunks", [[b"\r\n\r\n"], split(b"\r\n\r\n"), [b"\r\n\r", b"\n"]])
def test_a_double_crlf_is_a_ping(framer, chunks):
    assert fed(framer, *chunks) == [KeepAlive.PING]
    assert not framer.pending


def test_a_single_crlf_is_a_pong_at_once(framer):
    assert fed(framer, b"\r\n") == fed(framer, b"\r\n") == [KeepAlive.PONG]


def test_half_a_ping_is_no_pending_message(framer):
    assert fed(framer, b"\r", b"\n") == []
    assert not framer.pending
    assert fed(framer, MESSAGE) == [KeepAlive.PONG, "MESSAGE"]


def test_keepalives_and_messages_keep_their_order(framer):
    data = b"\r\n\r\n" + MESSAGE + b"\r\n" + MESSAGE + b"\r\n\r\n"
    expected = [KeepAlive.PING, "MESSAGE", KeepAlive.PONG, "MESSAGE", KeepAlive.PING]
    assert fed(framer, data) == expected
    assert fed(StreamFramer(), *split(data)) == expected


def test_a_body_of_line_breaks_is_no_keepalive(framer):
    head, _, _ = MESSAGE.partition(b"\r\n\r\n")
    data = head.replace(b": 6", b": 4") + b"\r\n\r\n"
    assert fed(framer, data, b"\r\n", b"\r\n") == ["MESSAGE"]


def test_a_bad_message_whose_end_is_known_costs_that_message_alone(framer):
    with pytest.raises(SipSyntaxError, match="another method") as caught:
        framer.feed(BAD + MESSAGE)
    assert caught.value.partial.method == "MESSAGE"
    assert framer.in_sync
    assert fed(framer, b"") == ["MESSAGE"]
    assert not framer.pending


def test_messages_before_a_bad_one_are_not_lost(framer):
    assert fed(framer, MESSAGE + BAD + MESSAGE) == ["MESSAGE"]
    assert framer.error is not None
    with pytest.raises(SipSyntaxError, match="another method"):
        framer.feed(b"\r\n")
    assert framer.error is None
    assert fed(framer, b"") == ["MESSAGE", KeepAlive.PONG][:1]
    assert fed(framer, b"\r\n") == [KeepAlive.PING]


def test_a_stream_whose_framing_is_lost_stays_lost(framer):
    assert fed(framer, MESSAGE + LOST + MESSAGE) == ["MESSAGE"]
    assert not framer.in_sync
    for _ in range(2):
        with pytest.raises(SipSyntaxError, match="Content-Length") as caught:
            framer.feed(MESSAGE)
    assert caught.value.partial.call_id == "c"
    assert not framer.pending


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (LOST, 400),
        (MESSAGE.replace(b"Content-Length: 6\r\n", b""), 400),
        (MESSAGE.replace(b"Content-Length: 6", b"Content-Length: 6\r\nl: 7"), 400),
        (MESSAGE.replace(b"Content-Length: 6", b"Content-Length: 2147483648"), 413),
        (MESSAGE.replace(b"Content-Length: 6", b"Content-Length: 65536"), 513),
        (MESSAGE.replace(b"Call-ID: c", b"Call-ID c"), 400),
        (MESSAGE.replace(b"sip:b@", b"sip:" + b"b" * 9000 + b"@"), 414),
        (MESSAGE.replace(b"Call-ID: c", b"X: " + b"y" * 33_000), 513),
        (b"x" * 33_000, 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"\rX", 400),
    ],
)
def test_what_cannot_be_framed_ends_the_stream(data, status):
    for size in (len(data), 1000):
        framer = StreamFramer()
        with pytest.raises(SipSyntaxError) as caught:
            fed(framer, *(data[at : at + size] for at in range(0, len(data), size)))
        assert not framer.in_sync
        assert (caught.value.status, framer.pending) == (status, False)


def test_a_head_that_does_not_end_is_not_kept_beyond_its_limit():
    framer = StreamFramer(ParserLimits(head=1000))
    with pytest.raises(SipSyntaxError, match="too long") as caught:
        fed(framer, b"INVITE sip:b SIP/2.0\r\n", *[b"Subject: x\r\n"] * 100)
    assert caught.value.status == 513
    assert caught.value.partial.method == "INVITE"


def test_a_large_body_is_waited_for_without_being_allocated(framer):
    head, _, _ = MESSAGE.partition(b"\r\n\r\n")
    assert framer.feed(head.replace(b": 6", b": 65000") + b"\r\n\r\n") == []
    assert len(framer._buffer) == 0
    assert fed(framer, b"x" * 64_999) == []
    assert fed(framer, b"x") == ["MESSAGE"]
