from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import SdpSyntaxError
from callmeter.sdp.parser import SdpLimits, packet_time, parse_description

HEAD = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n"
SESSION = HEAD + b"c=IN IP4 192.0.2.1\r\nt=0 0\r\n"
AUDIO = SESSION + b"m=audio 4000 RTP/AVP 0\r\n"

WEBRTC = (
    SESSION
    + b"a=group:BUNDLE 0\r\na=msid-semantic: WMS\r\n"
    + b"m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\n"
    + b"a=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:aa\r\na=ice-pwd:bb\r\na=rtpmap:111 opus/48000/2\r\n"
    + b"a=rtcp-fb:111 transport-cc\r\na=ssrc:1 cname:x\r\na=extmap:1 urn:ietf:params\r\n"
    + b"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n"
)


@pytest.mark.parametrize(
    "text",
    [
        AUDIO,
        WEBRTC,
        AUDIO + b"a=sendrecv \r\n",
        AUDIO + b"a=x:  two  blanks \t\r\n",
        AUDIO + b"y=an unknown line\r\nZ=too\r\n",
        AUDIO + b"a=tcap:1 RTP/SAVP\r\na=pcfg:1 t=1\r\n",
        AUDIO + b"a=x:\xff\xfe\xc3\xa9\r\n",
        AUDIO + b"i=\r\n",
        SESSION,
        HEAD
        + b"i=x\r\nu=x\r\ne=x\r\np=x\r\nc=IN IP4 h\r\nb=AS:1\r\nt=1 2\r\nr=7d 1h\r\nk=clear:x\r\n",
    ],
)
def test_a_valid_description_is_written_back_octet_for_octet(text):
    description = parse_description(text)
    assert description.to_bytes() == text
    assert description.notes == ()


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (AUDIO.replace(b"\r\n", b"\n"), "lines end in LF instead of CRLF"),
        (AUDIO[:-2], "the last line has no newline"),
        (AUDIO[:-1], "the last line has no newline"),
        (AUDIO + b"\r\n", "there is an empty line"),
        (AUDIO + b" \r\n\r\n", "there is an empty line"),
        (AUDIO.replace(b"m=", b"\r\nm="), "there is an empty line"),
    ],
)
def test_a_loose_form_is_read_like_the_strict_one(text, note):
    description = parse_description(text)
    assert description == parse_description(AUDIO)
    assert note in description.notes
    assert description.to_bytes() == AUDIO


def test_carriage_returns_before_the_line_end_are_dropped():
    assert parse_description(AUDIO.replace(b"\r\n", b"\r\r\n")) == parse_description(AUDIO)


@pytest.mark.parametrize(
    ("cut", "note"),
    [(b"s=-\r\n", "s= is missing"), (b"t=0 0\r\n", "t= is missing")],
)
def test_a_missing_s_or_t_line_is_tolerated_with_a_note(cut, note):
    description = parse_description(AUDIO.replace(cut, b""))
    assert description.notes == (note,)
    assert len(description.media) == 1


def test_a_session_line_that_is_there_twice_is_noted_and_the_first_counts():
    description = parse_description(SESSION.replace(b"s=-", b"s=first\r\ns=second"))
    assert description.name == "first"
    assert description.notes == ("s= is there twice",)


def test_unknown_lines_and_attributes_stay_where_they_were():
    description = parse_description(AUDIO + b"y=odd\r\na=unheard-of:7\r\n")
    assert description.media[0].values("y") == ("odd",)
    assert description.media[0].attribute("unheard-of") == "7"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"hello",
        b"\r\n\r\n",
        SESSION[5:],
        SESSION.replace(b"v=0", b"v=1"),
        SESSION.replace(b"o=- 1 1 IN IP4 192.0.2.1\r\n", b""),
        SESSION.replace(b" 192.0.2.1\r\ns", b"\r\ns"),
        SESSION.replace(b"c=IN IP4", b"c=IN"),
        b"m=audio 4000 RTP/AVP 0\r\n" + SESSION,
        AUDIO + b"a\r\n",
        AUDIO + b"1=x\r\n",
        AUDIO + b"aa=x\r\n",
        AUDIO + b"a =x\r\n",
        AUDIO + b"a=x\ry\r\n",
        AUDIO + b"a=x\0y\r\n",
        AUDIO + b"c=IN IP4\r\n",
        AUDIO + b"a=ptime:x\r\n",
        AUDIO + b"a=ptime:12345678901\r\n",
        AUDIO + b"a=rtcp:65536\r\n",
        AUDIO + b"a=rtpmap:0 PCMU/0\r\n",
        SESSION + b"m=audio\r\n",
        SESSION + b"m=audio 4000 RTP/AVP\r\n",
        SESSION + b"m=image 4000 udptl\r\n",
        SESSION + b"m=audio 65536 RTP/AVP 0\r\n",
        SESSION + b"m=audio 4000 RTP/AVP 128\r\n",
    ],
)
def test_what_cannot_be_understood_is_refused(text):
    with pytest.raises(SdpSyntaxError):
        parse_description(text)


@pytest.mark.parametrize(
    "attribute",
    [b"rtpmap:0 PCMU/0", b"ptime:x", b"rtcp:65536", b"fmtp:4294967296 x"],
)
def test_bad_values_in_a_refused_stream_are_ignored(attribute):
    text = SESSION + b"m=audio 0 RTP/AVP 0 200\r\nc=IN IP4\r\na=" + attribute + b"\r\n"
    assert parse_description(text).media[0].port == 0


def test_formats_of_what_is_not_rtp_are_not_looked_at():
    assert parse_description(WEBRTC).media[1].formats == ("webrtc-datachannel",)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        (AUDIO, SdpLimits(octets=len(AUDIO))),
        (AUDIO + b"a=" + b"x" * 8190 + b"\r\n", SdpLimits()),
        (SESSION + b"m=audio 0 RTP/AVP 0\r\n" * 64, SdpLimits()),
        (AUDIO + b"a=x\r\n" * 512, SdpLimits()),
    ],
)
def test_a_description_as_large_as_the_limit_is_read(text, limits):
    assert parse_description(text, limits).to_bytes() == text


@pytest.mark.parametrize(
    "text",
    [
        AUDIO + b"a=" + b"x" * 8191 + b"\r\n",
        SESSION + b"m=audio 0 RTP/AVP 0\r\n" * 65,
        AUDIO + b"a=x\r\n" * 513,
        SESSION + b"a=x\r\n" * 256 + b"m=audio 0 RTP/AVP 0\r\n" + b"a=x\r\n" * 257,
        AUDIO + b"\n" * 65_536,
    ],
)
def test_a_description_beyond_a_limit_is_refused(text):
    with pytest.raises(SdpSyntaxError, match="more than"):
        parse_description(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [(b"20", 20), (b"0", 1), (b"1", 1), (b"500", 500), (b"501", 500), (b"9999999999", 500)],
)
def test_the_packet_time_is_brought_into_range(text, value):
    media = parse_description(AUDIO + b"a=ptime:" + text + b"\r\n").media[0]
    assert packet_time(media) == value


def test_without_a_packet_time_there_is_none():
    assert packet_time(parse_description(AUDIO).media[0]) is None


def test_an_error_names_the_rule_and_shows_no_key():
    key = b"WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
    text = AUDIO + b"a =crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + key + b"\r\n"
    with pytest.raises(SdpSyntaxError) as caught:
        parse_description(text)
    assert caught.value.rfc == "RFC 8866 section 5"
    assert key not in caught.value.excerpt


@given(st.lists(st.from_regex(rb"[abikxy]=[ -~\x80-\xff]{0,40}", fullmatch=True)))
def test_whatever_lines_follow_they_are_written_back(lines):
    text = AUDIO + b"".join(line + b"\r\n" for line in lines if line[:2] != b"c=")
    try:
        description = parse_description(text)
    except SdpSyntaxError:
        return
    assert description.to_bytes() == text
    assert parse_description(description.to_bytes()) == description
