from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callmeter.sip.uri import parse_uri
from callmeter.trace.redaction import filled, redact

KEY = b"WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
HIDDEN_KEY = b"[redacted 40 characters]"


def header(name, value):
    return b"REGISTER sip:example.com SIP/2.0\r\n" + name + value + b"\r\nCall-ID: a\r\n\r\n"


DIGEST = (
    b'Digest username="alice", realm="example.com", nonce="n0nce", uri="sip:example.com", '
    b'response="d1gest", algorithm=MD5, cnonce="cn0nce", qop=auth, nc=00000001, opaque="o"'
)


@pytest.mark.parametrize(
    "name",
    [
        b"Authorization: ",
        b"Proxy-Authorization: ",
        b"PROXY-authorization:",
        b"Authorization\t : ",
        b"authorization:\r\n ",
        b"Authorization:\n\t",
    ],
)
def test_a_digest_keeps_who_and_where_and_loses_the_rest(name):
    shown = redact(header(name, DIGEST))
    assert shown == header(
        name,
        b'Digest username="alice", realm="example.com", nonce="[redacted]", uri="sip:example.com"'
        b', response="[redacted]", algorithm=MD5, cnonce="[redacted]", qop=auth, nc=00000001, '
        b'opaque="o"',
    )


@pytest.mark.parametrize(
    "value",
    [
        DIGEST.replace(b", ", b",\r\n\t"),
        DIGEST.replace(b'"', b""),
        DIGEST.replace(b"=", b" = "),
        DIGEST.replace(b"nonce=", b"NONCE="),
        DIGEST.replace(b'"example.com"', b'"a \\" quote"'),
        DIGEST.replace(b'"alice"', b'"alice'),
        b'Digest username="alice, response=d1gest',
        b"Digest d1gest",
        b"Digest d1gest=",
        b'Digest username="',
        b"d1gest",
        b"Basic d1gest==",
        b"Bearer d1gest",
        b"bearer\r\n d1gest",
        b"NTLM d1gest",
        b'rspauth="d1gest", nextnonce="n0nce"',
    ],
)
@pytest.mark.parametrize("name", [b"Authorization: ", b"Authentication-Info: "])
def test_no_way_to_write_credentials_lets_them_through(name, value):
    shown = redact(header(name, value))
    assert b"d1gest" not in shown
    assert b"n0nce" not in shown
    assert shown.endswith(b"\r\nCall-ID: a\r\n\r\n")


def test_a_challenge_has_no_secret():
    message = header(b"WWW-Authenticate: ", b'Digest realm="a", nonce="n0nce"')
    assert redact(message) == message


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY,
            b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + HIDDEN_KEY,
        ),
        (
            b"a=crypto:1 X_Y inline:" + KEY + b"|2^20|1:4;inline:" + KEY + b"|2^20|2:4 KDR=2",
            b"a=crypto:1 X_Y inline:%b|2^20|1:4;inline:%b|2^20|2:4 KDR=2"
            % (HIDDEN_KEY, HIDDEN_KEY),
        ),
        (
            b"a=crypto:1 X_Y inline:" + KEY + b"|1000 UNENCRYPTED_SRTCP WSH=64",
            b"a=crypto:1 X_Y inline:" + HIDDEN_KEY + b"|1000 UNENCRYPTED_SRTCP WSH=64",
        ),
        (
            b"a=crypto:1 X_Y inline:AAAA FEC_KEY=inline:" + KEY,
            b"a=crypto:1 X_Y inline:[redacted 4 characters] FEC_KEY=inline:" + HIDDEN_KEY,
        ),
    ],
)
def test_a_crypto_line_keeps_all_but_the_key(line, shown):
    assert redact(b"v=0\r\n" + line + b"\r\n") == b"v=0\r\n" + shown + b"\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"A=Crypto:1 X_Y INLINE:" + KEY,
        b" a = crypto :1 X_Y inline:" + KEY,
        b"a=crypto:1 X_Y uri:" + KEY,
        b"a=crypto:1 X_Y inline:" + KEY[:10] + b" " + KEY[10:],
        b"a=crypto:1 " + KEY,
        b"a=crypto:" + KEY,
        b"a=crypto:inline:" + KEY,
        b"a=crypto:1 X_Y inline:AAAA|" + KEY,
        b"a=crypto:1 X_Y inline:AAAA|2^20|" + KEY,
        b"a=crypto:1 X_Y " + KEY + b"inline:AAAA",
        b"a=key-mgmt:mikey " + KEY,
        b"k=base64:" + KEY,
        b"k=clear:" + KEY,
        b"a=ice-pwd:" + KEY,
        b"A=ICE-PWD: " + KEY,
        b'{"key": "inline:' + KEY + b'"}',
    ],
)
@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r", b""])
def test_no_way_to_write_a_key_lets_it_through(line, end):
    shown = redact(b"v=0\r\n" + line + end)
    pieces = [KEY[at : at + 8] for at in range(len(KEY) - 7)]
    assert not [piece for piece in pieces if piece in shown]
    assert shown.endswith(end)


def test_a_key_inside_a_multipart_body_is_found():
    body = b"--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\na=crypto:1 X_Y inline:%b\r\n--b--"
    assert redact(body % KEY) == body % HIDDEN_KEY


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"sip:alice:pa55@example.com", b"sip:alice:(redacted)@example.com"),
        (b"f:<SIPS:alice:pa55@example.com>", b"f:<SIPS:alice:(redacted)@example.com>"),
        (b"<sip:alice:@example.com>", b"<sip:alice:@example.com>"),
        (b"https://alice:pa55@example.com/", b"https://alice:(redacted)@example.com/"),
        (b"sip:a:1,sip:b:pa55@example.com", b"sip:a:(redacted)@example.com"),
    ],
)
def test_a_password_in_a_uri_is_hidden(text, shown):
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        b"<sip:alice@example.com:5060>;tag=a:b",
        b"<sip:10.0.0.1:5060>, <sip:bob@[2001:db8::1]:5060>",
        b"Call-ID: a:b:c@example.com",
        b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\na=fingerprint:sha-256 AA:BB\r\na=ice-ufrag:abcd\r\n",
        b"a=rtpmap:0 PCMU/8000",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact(text) == text


PIECES = [b"Authorization:", b"\r\n", b" ", b"Digest", b'"', b"=", b",", b"a=crypto:", b"inline:"]
PIECES += [b"1", b"A_B", b"|", b";", b"sip:", b":", b"@", b"k=", b"\\", b"[redacted]", b"\xff"]
PIECES += [b"response", b"username", b"[redacted 4 characters]", b"Basic", b"\n", b"\t"]


@given(st.binary() | st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join))
@example(b"Authorization:Basic AA")
@example(b"Authorization:0=")
@example(b'Authorization:0="x"username=y')
@example(b'Authorization:response=x"y')
@example(b"Authorization:username=inline:x")
def test_any_octets_are_taken_and_a_second_pass_changes_nothing(message):
    once = redact(message)
    assert redact(once) == once


@pytest.mark.parametrize("piece", [*PIECES, b"sip:a", b"inline:A ", b"a =", b"a=crypto:1 ", b"a "])
def test_the_time_grows_with_the_size_and_not_with_its_square(piece, grows_with_the_size):
    quarter, whole = (
        b"Authorization: Digest " + piece * (size // len(piece)) for size in (50_000, 200_000)
    )
    assert grows_with_the_size(redact, quarter, whole)


def test_stand_ins_have_the_length_of_the_keys_and_nothing_else():
    line = b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + b"A" * 40 + b"|2^20\r\n"
    assert filled(redact(line)) == line.replace(b"A" * 40, b"x" * 40)
    assert filled(b"[redacted]") == b"[redacted]"
    assert len(filled(b"[redacted 999999999 characters]")) == 65_535


def test_a_request_whose_uri_had_a_password_can_still_be_parsed():
    shown = redact(b"OPTIONS sip:alice:pa55@example.com SIP/2.0\r\nCall-ID: a\r\n\r\n")
    assert str(parse_uri(shown.split()[1].decode())) == "sip:alice:(redacted)@example.com"
    assert redact(shown) == shown
