"""Hostile octets: only `SipSyntaxError` leaves the SIP parsers, and what they take is kept.

The seeds are the torture messages of RFC 4475 and RFC 5118 and a plain call. CALLMETER_LONG
makes the search a hundred times longer.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import SipSyntaxError
from callmeter.sip import parse_message, parse_uri
from callmeter.sip.body import multipart
from callmeter.sip.extension_headers import (
    EventType,
    RAck,
    Replaces,
    SessionExpires,
    SubscriptionState,
    parse_rseq,
    parse_sipfrag_status,
)
from callmeter.sip.framing import StreamFramer
from callmeter.sip.grammar import to_bytes
from callmeter.sip.headers import AuthParams, ContentType, CSeq, NameAddr, Via, parse_challenges
from callmeter.sip.parser import DEFAULT_LIMITS, _any_message, usual_message

VECTORS = Path(__file__).parents[1] / "vectors"
CALL = (
    b"INVITE sip:bob@b.example.com;transport=udp SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK776asdhds;rport\r\n"
    b"Max-Forwards: 70\r\n"
    b'From: "Alice" <sip:alice@a.example.com>;tag=19283\r\n'
    b"To: Bob <sip:bob@b.example.com>\r\n"
    b"Call-ID: a84b4c76e66710@192.0.2.10\r\n"
    b"CSeq: 314159 INVITE\r\n"
    b"Contact: <sip:alice@192.0.2.10:5060;transport=udp>\r\n"
    b"Record-Route: <sip:p1.example.com;lr>\r\n"
    b"Supported: replaces, timer, 100rel\r\n"
    b"Session-Expires: 1800;refresher=uac\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: 5\r\n\r\nv=0\r\n"
)
ANSWER = CALL.replace(b"INVITE sip:bob@b.example.com;transport=udp SIP/2.0", b"SIP/2.0 200 OK", 1)
SEEDS = [CALL, ANSWER, *(path.read_bytes() for path in sorted(VECTORS.glob("rfc*/*.dat")))]
USUAL = [CALL, ANSWER]
ROUNDS = 100 if os.environ.get("CALLMETER_LONG") else 1

ANOMALIES = (
    *(b"", b" ", b"\t", b"\r", b"\n", b"\r\n", b"\r\n ", b"\0", b"\r\n\r\n", b"\x0b", b"\x85"),
    *(b'"', b"\\", b'\\"', b"<", b">", b"<>", b";", b";;", b",", b",,", b":", b"?", b"@", b"="),
    *(b"%", b"%0", b"%00", b"%n%s", b"[", b"]", b"[::1]", b"[:::]", b"[fe80::1%eth0]", b"*"),
    *(b"-1", b"0", b"00000000000", b"1_0", b"+1", b"255", b"256", b"65536", b"2147483647"),
    *(b"2147483648", b"4294967296", b"18446744073709551616", b"9" * 5000),
    *("\u0661\u0662".encode(), b"\xc3\x28", b"\xff\xfe", "\u017f\u212a".encode(), b"A" * 9000),
    *(b"SIP/2.0", b"SIP/3.0", b"sip:", b"sips:", b"tel:", b"branch=", b"tag=", b"boundary="),
    *(b"Via: ", b"v:", b"To: ", b"t :", b"Content-Length: 5\r\n", b"l: 6\r\n", b"Route: ,\r\n"),
)


def mutated(chance, seed):
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(7):
            case 0 if data:
                data[place % len(data)] ^= 1 << chance.randrange(8)
            case 1:
                data[place:place] = chance.choice(ANOMALIES)
            case 2:
                del data[place : place + chance.choice((1, 1, 2, 5, 40))]
            case 3:
                data[place : place + chance.randrange(8)] = chance.choice(ANOMALIES)
            case 4:
                other = chance.choice(SEEDS)
                cut = chance.randrange(len(other))
                data[place:] = other[cut:]
            case 5:
                size = chance.choice((1, 8, 60))
                data[place:place] = data[place : place + size] * chance.choice((1, 3, 80))
            case _:
                data[place : place + 1] = bytes((chance.randrange(256),))
    return bytes(data)


def attempt(call, *arguments):
    """The result and None, or None and the one error that may leave."""
    try:
        return call(*arguments), None
    except SipSyntaxError as error:
        return None, error


def touch(message):
    """Ask for everything a message offers; only `SipSyntaxError` may come."""
    names = ("via", "vias", "from_", "to", "call_id", "cseq", "contacts", "routes")
    names += ("record_routes", "max_forwards", "expires", "require", "supported", "allow")
    for name in names:
        # These were checked when the message was parsed: none may raise at all.
        repr(getattr(message, name))
    attempt(lambda: message.content_type)
    attempt(multipart, message)
    for name in ("WWW-Authenticate", "Authorization"):
        _, error = attempt(parse_challenges, message.headers.get_all(name))
        assert error is None or error.excerpt == b""


def same(one, other):
    def content(message):
        lines = [line for line in message.headers if line[0].lower() not in {"content-length", "l"}]
        return message.start_line, lines, message.body

    return content(one) == content(other)


def check(data):
    message, error = attempt(parse_message, data)
    if error is not None:
        assert error.status in {400, 413, 414, 505, 513}
        if error.partial is not None and error.partial.is_request:
            answer = error.partial.create_response(error.status, to_tag="x").to_bytes()
            assert answer.count(b"\n") == answer.count(b"\r\n") == answer.count(b"\r")
        return
    touch(message)
    again = parse_message(message.to_bytes())
    assert same(message, again)
    assert again.to_bytes() == message.to_bytes()
    if message.is_request:
        message.create_response(500, to_tag="x").to_bytes()


@pytest.mark.parametrize("round_", range(8))
def test_only_the_named_error_leaves_and_what_is_taken_survives_a_round_trip(round_):
    chance = random.Random(round_)
    for _ in range(2_000 * ROUNDS):
        check(mutated(chance, chance.choice(SEEDS)))


@pytest.mark.parametrize("round_", range(4))
def test_the_pattern_for_usual_messages_takes_nothing_the_grammar_refuses(round_):
    chance = random.Random(round_ + 100)
    taken = 0
    for _ in range(2_000 * ROUNDS):
        data = mutated(chance, chance.choice(USUAL))
        usual = usual_message(data, DEFAULT_LIMITS)
        if usual is not None:
            taken += 1
            full = _any_message(data, DEFAULT_LIMITS)
            assert same(usual, full)
            assert usual.headers == full.headers
            assert [n for n, _ in usual.headers] == [n for n, _ in full.headers]
            for name in ("branch", "from_tag", "to_tag", "call_id", "cseq", "vias"):
                assert getattr(usual, name) == getattr(full, name)
            touch(usual)
    assert taken > 50


@pytest.mark.parametrize("round_", range(4))
def test_how_a_stream_is_chunked_makes_no_difference(round_):
    chance = random.Random(round_ + 200)
    for _ in range(150 * ROUNDS):
        parts = [chance.choice(SEEDS) for _ in range(chance.randrange(1, 4))]
        data = chance.choice((b"", b"\r\n\r\n")).join(parts)
        if chance.random() < 0.5:
            data = mutated(chance, data)
        assert outcome(data, len(data)) == outcome(data, chance.choice((3, 7, 64, 700)))


def outcome(data, size):
    framer = StreamFramer()
    found = []
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    if chunks[-1:] == [b"\r\n"]:
        # A chunk of exactly one CRLF is a pong at once: the one difference there is.
        chunks[-1:] = [b"\r", b"\n"]
    for chunk in chunks:
        while True:
            items, error = attempt(framer.feed, chunk)
            chunk = b""  # noqa: PLW2901  what is left is asked for
            if error is not None:
                found.append((error.status, str(error)))
                if not framer.in_sync:
                    return found
            elif items:
                found += [getattr(item, "to_bytes", item.__repr__)() for item in items]
            else:
                break
    return found


VALUES = st.lists(
    st.sampled_from(
        [*(a.decode("latin-1") for a in ANOMALIES[:40]), "a", "sip:a@b", "SIP/2.0/UDP", "1", "é"]
    )
    | st.text(max_size=6),
    max_size=8,
).map("".join)


@given(VALUES)
def test_typed_values_raise_nothing_but_the_named_error(text):
    for parse in (Via.parse, NameAddr.parse, CSeq.parse, ContentType.parse, AuthParams.parse):
        try:
            value = parse(text)
        except SipSyntaxError:
            continue
        assert parse(str(value)) == value


EXTENSIONS = (
    (RAck, "776656 1 INVITE"),
    (SessionExpires, "1800;refresher=uac"),
    (Replaces, "98732@sip.example.com;from-tag=r33;to-tag=ff87;early-only"),
    (EventType, "refer;id=93809824"),
    (SubscriptionState, "terminated;reason=probation;retry-after=5;expires=0"),
    (NameAddr, "<sip:carol@c.example.com?Replaces=a%40b%3Bto-tag%3Dc%3Bfrom-tag%3Dd>;x=y"),
)


@given(VALUES, st.integers(0, 60))
def test_values_of_extensions_raise_nothing_but_the_named_error(text, place):
    for kind, usual in EXTENSIONS:
        for candidate in (text, usual[:place] + text + usual[place:], usual[:place] + text):
            value, error = attempt(kind.parse, candidate)
            if error is None:
                assert kind.parse(str(value)) == value
    number = parse_rseq(text)
    assert number is None or parse_rseq(str(number)) == number
    parse_sipfrag_status(b"SIP/2.0 " + text.encode("utf-8", "surrogateescape"))


@given(VALUES)
def test_uris_are_written_as_they_were_read(text):
    for scheme in ("", "sip:", "sip:a@", "tel:", "x:"):
        try:
            uri = parse_uri(scheme + text)
        except SipSyntaxError:
            continue
        assert parse_uri(str(uri)) == uri
        assert uri.equivalent(uri)


@pytest.mark.parametrize("value", ["", '"', "\\", "<", ">", ";", ",", " ", "=", "<>", '""', "*"])
@pytest.mark.parametrize("name", ["v", "From", "t", "i", "CSeq", "m", "Route", "Record-Route"])
def test_degenerate_values_of_needed_headers_are_400(name, value):
    lines = [f"{name}: {value}"]
    for line in CALL.decode().split("\r\n")[1:-1]:
        if line.split(":")[0] not in {"Via", "From", "To", "Call-ID", "CSeq"} or not line:
            continue
        short = {"Via": "v", "To": "t", "Call-ID": "i"}.get(line.split(":")[0], line.split(":")[0])
        if short != name:
            lines.append(line)
    data = "\r\n".join(["INVITE sip:a@b SIP/2.0", *lines, "", ""]).encode()
    if (name == "m" and value == "*") or (name == "i" and value.strip()):
        assert parse_message(data).method == "INVITE"
    else:
        with pytest.raises(SipSyntaxError) as caught:
            parse_message(data)
        assert caught.value.status == 400


# What stands before, what is repeated, how often at most, and what stands behind.
SHAPES = {
    "folds": (b"X: a", b"\r\n a", 7_000, b""),
    "quotes": (b"Contact: ", b'"', 8_000, b""),
    "escaped quotes": (b'Contact: a,"', b'\\"', 4_000, b""),
    "brackets": (b"Contact: a,", b"<", 8_000, b""),
    "commas": (b"Contact: ", b",", 8_000, b""),
    "vias": (b"Via: ", b"SIP/2.0/UDP a;branch=b,", 340, b"SIP/2.0/UDP a"),
    "headers": (b"", b"X-A: a\r\n", 239, b"X-A: a"),
    "params": (b"Contact: <sip:a>", b";a", 3_900, b""),
    "uri params": (b"Contact: <sip:a", b";a", 3_900, b">"),
    "blanks": (b"Contact: <sip:a>;a", b" ", 8_000, b"="),
    "colons": (b"Via: SIP/2.0/UDP [", b":", 8_000, b"]"),
    "digits": (b"CSeq: ", b"0", 8_000, b"1 INVITE"),
    "escapes": (b"Contact: <sip:", b"%41", 2_600, b"@a>"),
    "dots": (b"Contact: <sip:", b"a.", 4_000, b">"),
    "boundary": (b"Content-Type: multipart/mixed;boundary=", b"a", 8_000, b""),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_long_header_is_read_in_time_that_grows_with_its_size(shape, grows_with_the_size):
    before, piece, count, behind = SHAPES[shape]
    quarter, whole = (
        CALL.replace(b"Supported: replaces, timer, 100rel", before + piece * times + behind)
        for times in (count // 4, count)
    )
    assert grows_with_the_size(check, quarter, whole)


def test_octets_that_are_no_utf8_survive():
    data = CALL.replace(b"Bob <", b"\xff\xfeBob <")
    message = parse_message(data)
    assert to_bytes(message.to.display or "") == b"\xff\xfeBob"
    assert message.to_bytes() == data
