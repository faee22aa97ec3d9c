from __future__ import annotations

import pickle

import pytest

from callmeter.errors import LocalProtocolError, SdpSyntaxError
from callmeter.sdp.attributes import Attribute
from callmeter.sdp.description import (
    Bandwidth,
    Connection,
    Line,
    MediaDescription,
    MediaLine,
    Origin,
    SessionDescription,
)
from callmeter.sdp.parser import parse_description

KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
OFFER = (
    b"v=0\r\no=- 20518 7 IN IP4 203.0.113.1\r\ns= \r\nc=IN IP4 203.0.113.1\r\nb=CT:128\r\nt=0 0\r\n"
    b"a=recvonly\r\nm=audio 54400 RTP/SAVP 0 96\r\nc=IN IP6 2001:db8::1\r\nb=AS:64\r\nb=X\r\n"
    b"a=rtpmap:0 PCMU/8000\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"
    + KEY.encode()
    + b"\r\nm=video 0/2 RTP/AVP 31\r\n"
)


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\0b"])
def test_a_line_cannot_smuggle_in_another(value):
    with pytest.raises(LocalProtocolError):
        Line("a", value)


def test_no_repr_of_a_description_holds_a_key():
    description = parse_description(OFFER)
    assert KEY not in repr(description)
    assert KEY in str(description)


def test_typed_views_read_the_lines():
    description = parse_description(OFFER)
    assert description.version == 0
    assert description.origin == Origin("-", 20_518, 7, "IN", "IP4", "203.0.113.1")
    assert description.name == " "
    assert description.connection == Connection("203.0.113.1", "IP4")
    assert description.bandwidth == (Bandwidth("CT", 128),)
    assert description.timing == ("0 0",)
    assert description.attributes == (Attribute("recvonly"),)
    audio, video = description.media
    assert (audio.kind, audio.port, audio.protocol) == ("audio", 54_400, "RTP/SAVP")
    assert audio.formats == ("0", "96")
    assert audio.connection == Connection("2001:db8::1", "IP6")
    assert audio.bandwidth == (Bandwidth("AS", 64),)
    assert audio.attribute("rtpmap") == "0 PCMU/8000"
    assert audio.attribute("ptime") is None
    assert video.port_count == 2
    assert video.connection is None


def test_a_parsed_description_survives_pickling_after_its_views_were_read():
    description = parse_description(OFFER)
    assert description.origin.session_id == 20_518
    assert pickle.loads(pickle.dumps(description)) == description


def test_attributes_are_added_and_taken_away_in_copies():
    description = parse_description(OFFER)
    audio = description.media[0]
    changed = audio.without_attributes("crypto").with_attributes(Attribute("inactive"))
    assert not changed.has_attribute("crypto")
    assert changed.has_attribute("inactive")
    assert audio.has_attribute("crypto")
    other = description.with_media(0, changed)
    assert other.media == (changed, description.media[1])
    assert KEY.encode() not in other.to_bytes()
    assert description.to_bytes() == OFFER


def test_an_o_line_is_written_as_it_was_read():
    text = "jdoe 3724394400 3724394405 IN IP4 198.51.100.1"
    assert str(Origin.parse(text)) == text


def test_a_user_name_with_blanks_does_not_shift_the_other_fields():
    origin = Origin.parse("John Q Doe 12 13 IN IP6 ::1")
    assert origin == Origin("John Q Doe", 12, 13, "IN", "IP6", "::1")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("18446744073709551615", 2**64 - 1),
        ("00000000000000000007", 7),
        ("123456789012345678901", 0),
        ("1x", 0),
        ("x2345678901", 0),
        ("-1", 0),
        ("٣", 0),
    ],
)
def test_an_odd_session_id_counts_as_zero(text, number):
    assert Origin.parse(f"- {text} 1 IN IP4 h").session_id == number
    assert Origin.parse(f"- 1 {text} IN IP4 h").session_version == number


def test_an_o_line_with_a_field_missing_is_refused():
    with pytest.raises(SdpSyntaxError):
        Origin.parse("- 1 2 IN IP4")


@pytest.mark.parametrize(
    ("text", "connection"),
    [
        ("IN IP4 192.0.2.1", Connection("192.0.2.1", "IP4")),
        ("in ip4 host.example.com ", Connection("host.example.com", "IP4")),
        ("IN IP4 233.252.0.1/127/3", Connection("233.252.0.1", "IP4", "127/3")),
        ("IN IP6 [2001:db8::1]", Connection("2001:db8::1", "IP6")),
    ],
)
def test_a_connection_is_read(text, connection):
    assert Connection.parse(text) == connection


def test_a_connection_is_written_with_its_suffix():
    assert str(Connection.parse("IN IP4 233.252.0.1/127")) == "IN IP4 233.252.0.1/127"
    assert str(Connection.to("::1")) == "IN IP6 ::1"
    assert str(Connection.to("192.0.2.1")) == "IN IP4 192.0.2.1"


@pytest.mark.parametrize("text", ["", "IN IP4", "IN IP5 h", "ATM IP4 h", "IN IP4 a b"])
def test_a_connection_that_names_no_address_is_refused(text):
    with pytest.raises(SdpSyntaxError):
        Connection.parse(text)


@pytest.mark.parametrize("text", ["", "AS", "AS:x", ":5", "AS:4294967296"])
def test_a_bandwidth_that_is_no_number_is_passed_over(text):
    assert Bandwidth.parse(text) is None


def test_a_bandwidth_is_written_as_it_was_read():
    assert str(Bandwidth.parse("TIAS:64000")) == "TIAS:64000"


@pytest.mark.parametrize(
    "text",
    [
        "audio 49170 RTP/AVP 0 8",
        "video 49170/2 RTP/AVP 31",
        "audio 0 RTP/AVP 0",
        "image 9 udptl t38",
    ],
)
def test_a_media_line_is_written_as_it_was_read(text):
    assert str(MediaLine.parse(text)) == text


def test_a_refused_media_line_may_go_without_formats():
    assert MediaLine.parse("audio 0 RTP/AVP") == MediaLine("audio", 0, "RTP/AVP", ())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "audio 1",
        "audio 1 RTP/AVP",
        "audio x RTP/AVP 0",
        "audio -1 RTP/AVP 0",
        "audio 65536 RTP/AVP 0",
        "audio 4294967296 RTP/AVP 0",
        "audio 1/0 RTP/AVP 0",
        "audio 1/ RTP/AVP 0",
        "audio 1/256 RTP/AVP 0",
        "au/dio 1 RTP/AVP 0",
    ],
)
def test_a_media_line_with_a_bad_field_is_refused(text):
    with pytest.raises(SdpSyntaxError):
        MediaLine.parse(text)


def test_a_description_built_without_origin_says_so_when_asked():
    with pytest.raises(SdpSyntaxError):
        _ = SessionDescription(()).origin
    assert SessionDescription(()).name == "-"


def test_a_stream_is_built_from_its_media_line():
    media = MediaDescription.build(MediaLine("audio", 4000, "RTP/AVP", ("0",)), [Line("a", "x")])
    assert SessionDescription((), (media,)).to_bytes() == b"m=audio 4000 RTP/AVP 0\r\na=x\r\n"
