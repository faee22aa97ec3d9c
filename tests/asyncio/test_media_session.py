"""Offer and answer of one call's media, and what the stream is started with."""

from __future__ import annotations

import re
import secrets
import socket
import wave
from dataclasses import replace

import pytest

from callmeter.config import Codec, MediaConfig, SrtpConfig, SrtpMethod, SrtpPolicy, SrtpSuite
from callmeter.errors import (
    CallFailed,
    CallmeterError,
    ConfigurationError,
    LocalProtocolError,
    NegotiationError,
    NoCommonCodec,
    NoCommonSuite,
    ProfileMismatch,
    SdesKeyError,
    SdpSyntaxError,
    SrtpRequired,
    TransportError,
)
from callmeter.media import Discard
from callmeter.media_session import MediaSession, check_media
from callmeter.sdp.attributes import Direction
from callmeter.srtp.context import SrtpContext
from callmeter.srtp.libsrtp import supported_suites

LOOPBACK = "127.0.0.1"
DISCARD = 9
"""What nobody is given: media goes there, in tests that need none to arrive."""
KEY = "inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
OTHER_KEY = "inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
CRYPTO = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}\r\n"

DISABLED = MediaConfig()
OFFERED = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.OFFERED))
REQUIRED = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))


def sdp(
    profile="RTP/AVP",
    *lines,
    formats="0 101",
    address=f"IN IP4 {LOOPBACK}",
    port=DISCARD,
    version=1,
):
    tail = "".join(line if line.endswith("\r\n") else f"{line}\r\n" for line in lines)
    return (
        f"v=0\r\no=- 1 {version} IN IP4 {LOOPBACK}\r\ns=-\r\nc={address}\r\nt=0 0\r\n"
        f"m=audio {port} {profile} {formats}\r\n"
        "a=rtpmap:101 telephone-event/8000\r\n"
        f"{tail}"
    ).encode()


AVP = sdp()
AVP_KEYS = sdp("RTP/AVP", CRYPTO)
SAVP = sdp("RTP/SAVP", CRYPTO)
SAVP_NO_KEYS = sdp("RTP/SAVP")


@pytest.fixture
def make(stack):
    opened = []

    def session(config=DISABLED, address=LOOPBACK):
        opened.append(MediaSession(stack.media, config, address, entropy=secrets.token_bytes))
        return opened[-1]

    yield session
    for one in opened:
        one.close()
    assert stack.media.streams == []


def keys_of(body):
    return re.findall(rb"inline:([^\r\n|]+)", body)


def version_of(body):
    return int(body.split(b"\r\n")[1].split()[2])


def parameters(session):
    return session.stream._parameters


# answering


@pytest.mark.parametrize(
    ("config", "offer", "result"),
    [
        (DISABLED, AVP, "none"),
        (DISABLED, AVP_KEYS, "none"),
        (DISABLED, SAVP, ProfileMismatch),
        (DISABLED, SAVP_NO_KEYS, ProfileMismatch),
        (OFFERED, AVP, "none"),
        (OFFERED, AVP_KEYS, "sdes"),
        (OFFERED, SAVP, "sdes"),
        (OFFERED, SAVP_NO_KEYS, NoCommonSuite),
        (REQUIRED, AVP, SrtpRequired),
        (REQUIRED, AVP_KEYS, "sdes"),
        (REQUIRED, SAVP, "sdes"),
        (REQUIRED, SAVP_NO_KEYS, SrtpRequired),
    ],
)
async def test_each_policy_answers_each_kind_of_offer(make, config, offer, result):
    session = make(config)
    if not isinstance(result, str):
        with pytest.raises(result):
            session.accept_offer(offer)
        assert session.stream is None
        assert session.keying == "none"
        return
    answer = session.accept_offer(offer)
    assert session.keying == result
    assert session.secure is (result == "sdes")
    assert (b"a=crypto" in answer) is (result == "sdes")
    assert session.profile == offer.split(b"m=audio 9 ")[1].split()[0].decode()
    gave_up = config is OFFERED and offer is AVP
    assert [bool(re.search("not encrypted", text)) for text in session.warnings] == [True] * gave_up
    assert (parameters(session).srtp_send is not None) is session.secure
    assert (parameters(session).srtp_receive is not None) is session.secure


@pytest.mark.parametrize(
    ("config", "profile", "result"),
    [
        (REQUIRED, "RTP/SAVP", NoCommonSuite),
        (OFFERED, "RTP/SAVP", NoCommonSuite),
        (REQUIRED, "RTP/AVP", NoCommonSuite),
        (OFFERED, "RTP/AVP", "none"),
    ],
)
async def test_a_suite_not_in_common_falls_back_only_where_nobody_insists(
    make, config, profile, result
):
    suites = (SrtpSuite.AES_CM_128_HMAC_SHA1_32,)
    session = make(replace(config, srtp=replace(config.srtp, suites=suites)))
    offer = sdp(profile, CRYPTO)
    if result == "none":
        assert b"a=crypto" not in session.accept_offer(offer)
        assert session.keying == "none"
        assert session.warnings == ["no SRTP suite in common: the media is not encrypted"]
    else:
        with pytest.raises(result) as caught:
            session.accept_offer(offer)
        assert caught.value.offered == ("AES_CM_128_HMAC_SHA1_80",)


@pytest.mark.parametrize("config", [OFFERED, REQUIRED])
async def test_a_key_that_is_broken_is_refused_and_the_next_offer_is_heard(make, config):
    session = make(config)
    with pytest.raises((SdesKeyError, NegotiationError)):
        session.accept_offer(sdp("RTP/SAVP", CRYPTO.replace("dGwgKCk", "")))
    assert b"a=crypto" in session.accept_offer(SAVP)
    assert session.secure


@pytest.mark.parametrize("config", [OFFERED, REQUIRED])
@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (" UNENCRYPTED_SRTP", "UNENCRYPTED_SRTP is not allowed"),
        (" UNENCRYPTED_SRTCP", "UNENCRYPTED_SRTCP is not allowed"),
        (" UNAUTHENTICATED_SRTP", "UNAUTHENTICATED_SRTP is not allowed"),
        (" KDR=3", "KDR"),
        (" FEC_KEY=inline:x", "FEC_KEY"),
        (" WSH=1", "WSH"),
        (" NEW_THING", "unknown mandatory session parameter"),
    ],
)
async def test_an_offer_whose_parameters_cannot_be_honoured_is_refused_by_name(
    make, config, rest, reason
):
    session = make(config)
    with pytest.raises(NoCommonSuite, match=reason) as caught:
        session.accept_offer(sdp("RTP/SAVP", CRYPTO.replace("\r\n", f"{rest}\r\n")))
    assert KEY.removeprefix("inline:") not in f"{caught.value!r} {caught.value}"
    assert session.stream is None


@pytest.mark.parametrize("rest", [" WSH=256", " FEC_ORDER=FEC_SRTP", " -OPTIONAL=1"])
async def test_an_offer_whose_parameters_can_be_honoured_is_taken(make, rest):
    session = make(REQUIRED)
    answer = session.accept_offer(sdp("RTP/SAVP", CRYPTO.replace("\r\n", f"{rest}\r\n")))
    assert session.secure
    assert rest.strip().encode() not in answer


async def test_srtcp_in_clear_is_repeated_where_the_settings_ask_for_it(make):
    session = make(replace(REQUIRED, srtp=replace(REQUIRED.srtp, unencrypted_srtcp=True)))
    answer = session.accept_offer(sdp("RTP/SAVP", CRYPTO.replace("\r\n", " UNENCRYPTED_SRTCP\r\n")))
    assert session.secure
    assert b" UNENCRYPTED_SRTCP\r\n" in answer


@pytest.mark.parametrize(
    ("offer", "error"),
    [
        (b"v=1\r\n", SdpSyntaxError),
        (sdp(formats="18", port=DISCARD), NoCommonCodec),
        (sdp(formats="101"), NoCommonCodec),
        (sdp(port=0), NoCommonCodec),
        (AVP.replace(b"m=audio", b"m=video"), NoCommonCodec),
        (sdp(address="IN IP4 phone.example"), NegotiationError),
        (sdp(address="IN IP6 2001:db8::1"), NegotiationError),
    ],
    ids=["no sdp", "other codec", "only events", "refused", "video", "name", "other family"],
)
async def test_an_offer_that_cannot_be_used_is_refused_and_the_next_is_heard(make, offer, error):
    session = make()
    with pytest.raises(error):
        session.accept_offer(offer)
    assert session.stream is None
    session.accept_offer(AVP)
    assert session.codec == "PCMU"


async def test_only_the_audio_of_an_offer_is_taken(make):
    answer = make().accept_offer(AVP + b"m=video 40002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n")
    lines = [line for line in answer.split(b"\r\n") if line.startswith(b"m=")]
    assert lines[0].startswith(b"m=audio ")
    assert lines[1].startswith(b"m=video 0 ")


async def test_no_port_left_is_refused(make, stack):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((LOOPBACK, 0))
        port = taken.getsockname()[1]
        session = make(MediaConfig(ports=(port, port)))
        with pytest.raises(TransportError):
            session.accept_offer(AVP)
        with pytest.raises(TransportError):
            session.create_offer()


# offering


@pytest.mark.parametrize(
    ("config", "profile", "crypto_lines"),
    [
        (DISABLED, b"RTP/AVP", 0),
        (OFFERED, b"RTP/SAVP", 3),
        (REQUIRED, b"RTP/SAVP", 3),
        (
            MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.OFFERED, osrtp=True)),
            b"RTP/AVP",
            3,
        ),
        (replace(REQUIRED, feedback=True), b"RTP/SAVPF", 3),
        (replace(DISABLED, feedback=True), b"RTP/AVPF", 0),
    ],
)
async def test_an_offer_says_what_its_policy_says(make, config, profile, crypto_lines):
    offer = make(config).create_offer()
    assert re.search(rb"m=audio \d+ (\S+) ", offer)[1] == profile
    assert len(keys_of(offer)) == crypto_lines
    assert len(set(keys_of(offer))) == crypto_lines


def answer_to(offer, profile, *lines):
    tag, suite = (
        re.search(rb"a=crypto:(\d+) (\S+)", offer).groups()
        if b"crypto" in offer
        else (
            b"1",
            b"AES_CM_128_HMAC_SHA1_80",
        )
    )
    lines = [line.format(tag=tag.decode(), suite=suite.decode()) for line in lines]
    return sdp(profile, *lines)


OUR_KEY = f"a=crypto:{{tag}} {{suite}} {KEY}"


@pytest.mark.parametrize(
    ("config", "profile", "lines", "result"),
    [
        (DISABLED, "RTP/AVP", [], "none"),
        (OFFERED, "RTP/SAVP", [OUR_KEY], "sdes"),
        (REQUIRED, "RTP/SAVP", [OUR_KEY], "sdes"),
        (REQUIRED, "RTP/SAVP", [], (SrtpRequired, NegotiationError)),
        (REQUIRED, "RTP/AVP", [], (SrtpRequired, ProfileMismatch)),
        (
            REQUIRED,
            "RTP/SAVP",
            [f"a=crypto:1 AES_192_CM_HMAC_SHA1_80 {KEY}"],
            (NegotiationError, SdesKeyError),
        ),
    ],
)
async def test_each_policy_takes_each_kind_of_answer(make, config, profile, lines, result):
    session = make(config)
    offer = session.create_offer()
    answer = answer_to(offer, profile, *lines)
    if isinstance(result, str):
        session.accept_answer(answer)
        assert session.keying == result
        assert session.secure is (result == "sdes")
        assert session.on_hold is False
    else:
        with pytest.raises(result):
            session.accept_answer(answer)
        assert not session._begun


async def test_an_offer_of_keys_under_avp_is_taken_without_them_and_says_so(make):
    session = make(MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.OFFERED, osrtp=True)))
    session.create_offer()
    session.accept_answer(AVP)
    assert session.keying == "none"
    assert session.warnings == ["the peer answered without SRTP: the media is not encrypted"]


async def test_an_offer_of_keys_under_avp_is_taken_with_them(make):
    session = make(MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.OFFERED, osrtp=True)))
    offer = session.create_offer()
    session.accept_answer(answer_to(offer, "RTP/AVP", OUR_KEY))
    assert session.secure
    assert session.warnings == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (sdp(port=0), NoCommonCodec),
        (sdp(formats="101"), NoCommonCodec),
        (sdp(address="IN IP4 phone.example"), NegotiationError),
        (sdp(address="IN IP6 ::1"), NegotiationError),
        (AVP + b"m=audio 4 RTP/AVP 0\r\n", NegotiationError),
        (b"", SdpSyntaxError),
    ],
    ids=["refused", "only events", "name", "other family", "one more line", "empty"],
)
async def test_an_answer_that_cannot_be_used_starts_nothing_and_allows_another_offer(
    make, answer, error
):
    session = make()
    session.create_offer()
    with pytest.raises(error):
        session.accept_answer(answer)
    assert parameters(session) is None
    session.create_offer()
    session.accept_answer(AVP)
    assert parameters(session) is not None


async def test_payload_types_may_differ_per_direction(make):
    session = make(MediaConfig(codecs=(Codec.PCMA, Codec.PCMU)))
    session.create_offer()
    session.accept_answer(
        sdp(formats="99 110").replace(
            b"a=rtpmap:101 telephone-event",
            b"a=rtpmap:99 PCMA/8000\r\na=rtpmap:110 telephone-event",
        )
    )
    started = parameters(session)
    assert (started.codec, started.payload_type, started.telephone_event) == ("PCMA", 99, 110)
    assert started.receive_payload_types == {8: "PCMA", 0: "PCMU"}
    assert started.receive_telephone_event == 101


@pytest.mark.parametrize(
    ("line", "direction", "sends", "receives"),
    [
        ("a=sendrecv", "sendrecv", True, True),
        ("a=inactive", "inactive", False, False),
        ("a=recvonly", "sendonly", True, False),
        ("a=sendonly", "recvonly", False, True),
    ],
)
async def test_the_direction_of_the_answer_is_turned_round(make, line, direction, sends, receives):
    session = make()
    session.create_offer()
    session.accept_answer(sdp("RTP/AVP", line))
    assert session.direction == direction
    assert session.on_hold is (direction != "sendrecv")
    assert (parameters(session).send, parameters(session).receive) == (sends, receives)


@pytest.mark.parametrize(("asked", "kept"), [("30", 30), ("33", 20), ("500", 20)])
async def test_an_odd_packet_time_falls_back_to_ours(make, asked, kept):
    session = make()
    session.accept_offer(sdp("RTP/AVP", f"a=ptime:{asked}"))
    assert parameters(session).ptime_ms == kept


async def test_the_address_0_0_0_0_is_sent_nothing(make):
    session = make()
    session.accept_offer(sdp(address="IN IP4 0.0.0.0"))
    assert not parameters(session).send


async def test_mux_and_avpf_are_what_both_want(make):
    session = make(MediaConfig(rtcp_mux=True))
    offer = session.create_offer()
    assert b"a=rtcp-mux" in offer
    session.accept_answer(sdp("RTP/AVP", "a=rtcp-mux"))
    assert session.rtcp_mux
    assert not session.feedback
    other = make(MediaConfig(rtcp_mux=True))
    other.create_offer()
    other.accept_answer(AVP)
    assert not other.rtcp_mux
    assert parameters(other).remote_rtcp == (LOOPBACK, DISCARD + 1)


# again


async def test_a_key_that_stays_keeps_its_context_and_a_new_one_changes_it(make):
    session = make(REQUIRED)
    first = session.accept_offer(SAVP)
    receiving, sending = session.keys.receive, session.keys.send
    again = session.accept_offer(sdp("RTP/SAVP", CRYPTO, "a=sendonly", version=2))
    assert session.keys.receive is receiving
    assert session.keys.send is sending
    assert keys_of(again) == keys_of(first)
    assert version_of(again) == version_of(first) + 1
    session.accept_offer(sdp("RTP/SAVP", CRYPTO.replace(KEY, OTHER_KEY), version=3))
    assert session.keys.receive is not receiving
    assert session.direction == "sendrecv"


async def test_an_offer_of_ours_repeats_the_keys_in_use(make):
    session = make(REQUIRED)
    offer = session.create_offer()
    session.accept_answer(answer_to(offer, "RTP/SAVP", OUR_KEY))
    sending, receiving = session.keys.send, session.keys.receive
    again = session.create_offer(Direction.SENDONLY)
    assert keys_of(again) == keys_of(offer)[:1]
    assert b"a=sendonly" in again
    session.accept_answer(answer_to(again, "RTP/SAVP", OUR_KEY, "a=recvonly"))
    assert (session.keys.send, session.keys.receive) == (sending, receiving)
    assert session.direction == "sendonly"
    assert session.on_hold


@pytest.mark.parametrize(
    "bad",
    [
        sdp("RTP/SAVP", CRYPTO.replace(KEY, OTHER_KEY), address="IN IP4 phone.example"),
        sdp("RTP/SAVP", CRYPTO.replace(KEY, OTHER_KEY), address="IN IP6 ::1"),
        sdp("RTP/SAVP", CRYPTO.replace(KEY, OTHER_KEY), formats="18"),
        sdp("RTP/SAVP", CRYPTO.replace(KEY, "inline:short")),
        AVP,
        SAVP_NO_KEYS,
    ],
    ids=["name", "other family", "other codec", "short key", "no srtp", "no key"],
)
@pytest.mark.parametrize("config", [OFFERED, REQUIRED])
async def test_a_re_offer_that_is_refused_changes_nothing(make, config, bad):
    session = make(config)
    session.accept_offer(SAVP)
    before = (
        session.keys.receive,
        session.keys.send,
        session.suite,
        session.direction,
        session.remote,
        session.codec,
        parameters(session),
    )
    with pytest.raises(CallmeterError):
        session.accept_offer(bad)
    assert before == (
        session.keys.receive,
        session.keys.send,
        session.suite,
        session.direction,
        session.remote,
        session.codec,
        parameters(session),
    )
    session.accept_offer(sdp("RTP/SAVP", CRYPTO, version=9))
    assert session.keys.receive is before[0]


async def test_an_answer_that_drops_the_encryption_is_refused(make):
    session = make(OFFERED)
    offer = session.create_offer()
    session.accept_answer(answer_to(offer, "RTP/SAVP", OUR_KEY))
    session.create_offer()
    with pytest.raises(NegotiationError):
        session.accept_answer(SAVP_NO_KEYS)
    assert session.secure


async def test_an_offer_withdrawn_leaves_what_was_agreed(make):
    session = make()
    session.accept_offer(AVP)
    session.create_offer(Direction.SENDONLY)
    session.rollback()
    session.rollback()
    session.accept_offer(sdp(version=2))
    assert session.direction == "sendrecv"


# the end


async def test_a_session_that_never_began_has_no_figures(make):
    session = make(REQUIRED)
    assert session.statistics() is None
    assert session.local is None
    assert session.remote is None
    with pytest.raises(LocalProtocolError, match="no media"):
        session.echo()
    session.create_offer()
    assert session.local.startswith(f"{LOOPBACK}:")
    session.close()
    session.close()
    assert session.statistics() is None


async def test_the_last_figures_stay(make):
    session = make(REQUIRED)
    session.accept_offer(SAVP)
    local = session.local
    session.close()
    assert session.statistics().send.packets_sent == 0
    assert session.local == local
    assert session.remote == f"{LOOPBACK}:{DISCARD}"
    assert session.format.secure


async def test_what_is_asked_of_media_that_is_over_is_no_error(make, tmp_path):
    session = make(REQUIRED)
    session.accept_offer(SAVP)
    session.close()
    assert await session.play() == 0.0
    session.echo()
    session.buffer()
    session.send_feedback("nack", lost=(1,))
    assert len(session.capture()) == 0
    assert session.captured is None
    heard = session.record(tmp_path / "heard.wav")
    with wave.open(str(tmp_path / "heard.wav")) as written:
        assert written.getnframes() == 0
    assert heard.seconds == 0.0
    with pytest.raises(CallFailed, match="ended before its digits were sent"):
        await session.send_digits("1")


async def test_keys_of_a_call_that_never_began_are_closed(make, monkeypatch):
    session = make(REQUIRED)
    offer = session.create_offer()
    monkeypatch.setattr(session, "_begin", lambda *_: None)
    session.accept_answer(answer_to(offer, "RTP/SAVP", OUR_KEY))
    closed = []
    close = SrtpContext.close
    monkeypatch.setattr(SrtpContext, "close", lambda it: closed.append(it) or close(it))
    session.close()
    assert set(closed) == {session.keys.send, session.keys.receive}


async def test_media_over_ipv6_is_written_with_brackets(make):
    session = make(address="::1")
    session.accept_offer(sdp(address="IN IP6 ::1"))
    assert session.local.startswith("[::1]:")
    assert session.remote == f"[::1]:{DISCARD}"


def test_settings_that_no_build_can_carry_out_are_refused():
    missing = tuple(set(SrtpSuite) - supported_suites())
    check_media(MediaConfig(srtp=SrtpConfig(method=SrtpMethod.DTLS)))
    if missing:
        srtp = SrtpConfig(policy=SrtpPolicy.OFFERED, suites=missing)
        with pytest.raises(ConfigurationError, match="libsrtp"):
            check_media(MediaConfig(srtp=srtp))


async def test_who_plays_a_source_is_told_what_it_raised(make):
    class Broken(Discard):
        def line(self):
            return self

        def next_frame(self, codec, samples_per_frame):
            raise RuntimeError("microphone unplugged")

    session = make()
    session.accept_offer(AVP)
    with pytest.raises(RuntimeError, match="microphone unplugged"):
        await session.play(Broken(), seconds=60)
    assert await session.play(seconds=0.02) < 60
    for seconds in (-1, float("nan")):
        with pytest.raises(ConfigurationError, match="seconds is 0 or more"):
            await session.play(seconds=seconds)
