"""What is agreed on of video beside the audio, by offers and answers alone."""

from __future__ import annotations

import asyncio
import pickle
import secrets
import socket
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from callmeter.config import (
    CaptureConfig,
    DtlsConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    VideoConfig,
)
from callmeter.errors import (
    ConfigurationError,
    DtlsTimeout,
    LocalProtocolError,
    NegotiationError,
    NoCommonCodec,
)
from callmeter.media.video import AnnexBRecorder, IvfRecorder, TestPattern
from callmeter.media_session import MediaSession
from callmeter.sdp.attributes import Direction
from callmeter.srtp.dtls_certificate import DtlsCertificate
from callmeter.video_track import VideoTrack

LOOPBACK = "127.0.0.1"
VIDEO = VideoConfig()
SDES = SrtpConfig(policy=SrtpPolicy.REQUIRED)
DTLS = SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED)


@pytest.fixture
def make(stack):
    opened = []

    def session(**settings):
        config = MediaConfig(**{"video": VIDEO, **settings})
        certificate = None
        if config.srtp.enabled and config.srtp.method.offers_dtls:
            certificate = DtlsCertificate.of(DtlsConfig(), datetime.now(tz=UTC))
        opened.append(
            MediaSession(
                stack.media,
                config,
                LOOPBACK,
                entropy=secrets.token_bytes,
                certificate=certificate,
            )
        )
        return opened[-1]

    yield session
    for one in opened:
        one.close()
    assert stack.media.streams == []


def agree(calling, called):
    offer = calling.create_offer()
    answer = called.accept_offer(offer)
    calling.accept_answer(answer)
    return offer.decode(), answer.decode()


def section(body, kind):
    return body.partition(f"m={kind}")[2].partition("\r\nm=")[0]


def port_of(body, kind):
    return int(section(body, kind).split()[0])


async def test_each_track_has_its_own_port_and_its_own_keys(make):
    calling, called = make(srtp=SDES), make(srtp=SDES)
    for body in agree(calling, called):
        audio, video = (section(body, kind) for kind in ("audio", "video"))
        assert audio.split()[1] == "RTP/SAVP"
        assert video.split()[1] == "RTP/SAVPF"
        keys = [part.partition("inline:")[2].split()[0] for part in (audio, video)]
        assert keys[0] != keys[1]
        assert port_of(body, "audio") != port_of(body, "video")
        assert "a=rtcp-fb:* nack pli" in video
        assert "b=AS:1000" in video
        assert "BUNDLE" not in body
    for end in (calling, called):
        assert end.video.codec == "VP8"
        assert repr(end.video) == "<VideoTrack VP8 sendrecv>"
        assert end.video.keying == end.keying == "sdes"
        assert end.video.feedback
        assert not end.feedback
        assert [track.kind for track in end.tracks] == ["audio", "video"]
        formats = end.video.stream._parameters.formats
        assert [item.codec for item in formats] == ["VP8", "H264", "H264"]
        assert [item.packetization_mode for item in formats][1:] == [1, 0]


async def test_an_offer_without_video_and_one_that_is_not_wanted_have_none(make):
    for wants in ({"video": None}, {}):
        calling, called = make(), make(**wants)
        if wants:
            _, answer = agree(calling, called)
            assert port_of(answer, "video") == 0
            assert calling.video_refused == "by the peer: port 0"
        else:
            agree(called := make(video=None), make())
        for end in (calling, called):
            assert end.video is None
            assert [track.kind for track in end.tracks] == ["audio"]
            assert not end.keys_pending


@pytest.mark.parametrize("codec", [None, "H264"])
async def test_the_ports_of_video_that_was_refused_are_free_again(make, stack, codec):
    calling = make(video=VideoConfig(codecs=("VP8",)))
    called = make(video=None if codec is None else VideoConfig(codecs=(codec,)))
    agree(calling, called)
    assert [stream.port for stream in stack.media.streams] == [
        int(end.local.partition(":")[2]) for end in (calling, called)
    ]


async def test_video_that_one_fork_refuses_may_be_taken_by_another(make, stack):
    calling, first, second = make(), make(video=None), make()
    offer = calling.create_offer()
    calling.accept_early_answer(first.accept_offer(offer))
    assert calling.video is None
    calling.accept_other_answer(second.accept_offer(offer))
    assert calling.video.remote == second.video.local
    calling.close_refused()
    assert not calling.video.over


async def test_video_that_every_fork_refuses_has_no_ports_once_the_call_is_answered(make, stack):
    calling, called = make(), make(video=None)
    calling.accept_early_answer(called.accept_offer(calling.create_offer()))
    calling.close_refused()
    assert len(stack.media.streams) == 2


async def test_no_codec_in_common_refuses_the_video_and_leaves_the_audio(make):
    calling = make(video=VideoConfig(codecs=("VP8",)))
    called = make(video=VideoConfig(codecs=("H264",)))
    _, answer = agree(calling, called)
    assert port_of(answer, "video") == 0
    assert "VP8" in called.video_refused
    assert calling.codec == called.codec == "PCMU"
    # Nor is it asked for again.
    agree(calling, called)
    assert calling.video is None


async def test_plain_video_under_policy_required_is_refused_as_audio_is(make):
    calling, called = make(srtp=SDES), make(srtp=SDES)
    offer = calling.create_offer().decode()
    head, mark, video = offer.partition("m=video")
    plain = video.replace("RTP/SAVPF", "RTP/AVPF").replace("a=crypto", "a=x-crypto")
    answer = called.accept_offer((head + mark + plain).encode())
    assert b"m=video 0 " in answer
    assert "Required" in called.video_refused
    good = make(srtp=SDES).accept_offer(offer.encode()).decode()
    head, mark, video = good.partition("m=video")
    with pytest.raises(NegotiationError):
        calling.accept_answer((head + mark + video.replace("a=crypto", "a=x-crypto")).encode())
    assert calling.video is None or not calling.video.secure


async def test_an_answer_that_refuses_the_audio_is_no_answer(make):
    calling, called = make(), make()
    answer = called.accept_offer(calling.create_offer()).decode()
    port = port_of(answer, "audio")
    refused = answer.replace(f"m=audio {port} ", "m=audio 0 ")
    with pytest.raises(NoCommonCodec, match="audio"):
        calling.accept_answer(refused.encode())


async def test_hold_is_for_both_tracks(make):
    calling, called = make(), make()
    agree(calling, called)
    calling.accept_answer(called.accept_offer(calling.create_offer(Direction.SENDONLY)))
    assert calling.video.direction == calling.direction == "sendonly"
    assert called.video.direction == called.direction == "recvonly"
    calling.accept_answer(called.accept_offer(calling.create_offer(Direction.SENDRECV)))
    assert called.video.direction == "sendrecv"


async def test_a_deferred_call_has_both_tracks_inactive_until_it_is_activated(make):
    calling, called = make(deferred=True), make()
    agree(calling, called)
    for track in (*calling.tracks, *called.tracks):
        assert track.direction == "inactive"
    calling.accept_answer(called.accept_offer(calling.create_offer(Direction.SENDRECV)))
    for track in (*calling.tracks, *called.tracks):
        assert track.direction == "sendrecv"


async def test_lines_keep_their_places_whoever_offers_next(make):
    calling, called = make(), make()
    offer, _ = agree(calling, called)
    head, video_mark, video = offer.partition("m=video")
    session, audio_mark, audio = head.partition("m=audio")
    other = make()
    swapped = session + video_mark + video.rstrip() + "\r\n" + audio_mark + audio
    answer = other.accept_offer(swapped.encode()).decode()
    assert answer.index("m=video") < answer.index("m=audio")
    again = other.create_offer().decode()
    assert again.index("m=video") < again.index("m=audio")
    assert port_of(again, "video") == port_of(answer, "video")
    assert agree(called, calling)[0].index("m=audio") < offer.index("m=video")


async def test_video_comes_and_goes_in_the_running_call(make):
    calling, called = make(video=None), make()
    agree(calling, called)
    calling.check_change(replace(calling.config, video=VIDEO))
    calling.config = replace(calling.config, video=VIDEO)
    agree(calling, called)
    assert calling.video.codec == called.video.codec == "VP8"
    first = calling.video.local
    calling.config = replace(calling.config, video=None)
    _, answer = agree(calling, called)
    assert port_of(answer, "video") == 0
    for end in (calling, called):
        assert end.video is None
        assert [track.kind for track in end.tracks] == ["audio", "video"]
        assert end.tracks[1].statistics() is not None
    assert calling.video_refused == "given up"
    assert calling.tracks[1].local == first
    calling.config = replace(calling.config, video=VIDEO)
    agree(calling, called)
    for end in (calling, called):
        assert end.video.codec == "VP8"
        assert end.video_refused == ""


async def test_video_that_this_end_did_not_want_is_offered_once_it_does(make):
    calling, called = make(), make()
    agree(calling, called)
    calling.config = replace(calling.config, video=None)
    agree(called, calling)
    assert calling.video_refused == "it is not wanted"
    # It was the peer that refused, and is not asked again.
    assert port_of(called.create_offer().decode(), "video") == 0
    called.rollback()
    calling.config = replace(calling.config, video=VIDEO)
    agree(calling, called)
    assert calling.video.codec == called.video.codec == "VP8"


@pytest.mark.parametrize("dscp", [0, 46, None])
async def test_another_code_point_of_video_is_used_from_the_next_agreement_on(make, dscp):
    calling, called = make(), make()
    agree(calling, called)
    calling.config = replace(calling.config, video=VideoConfig(dscp=dscp))
    agree(calling, called)
    bound = calling.video.stream._rtp
    assert bound.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2 == (dscp or 0)


async def test_the_profile_of_video_that_runs_cannot_change(make):
    calling, called = make(), make()
    changed = replace(calling.config, video=VideoConfig(feedback=False))
    calling.check_change(changed)
    agree(calling, called)
    with pytest.raises(ConfigurationError, match=r"cannot change video\.feedback"):
        calling.check_change(changed)
    calling.check_change(replace(calling.config, video=None))
    calling.check_change(replace(calling.config, video=VideoConfig(bandwidth=2)))


async def test_an_offer_of_video_that_is_refused_outright_leaves_none(make):
    calling, called = make(video=None), make()
    agree(calling, called)
    calling.config = replace(calling.config, video=VIDEO)
    calling.create_offer()
    calling.rollback()
    calling.config = replace(calling.config, video=None)
    agree(calling, called)
    assert calling.video is None


async def test_without_srtp_both_tracks_are_offered_in_clear(make):
    offered = SrtpConfig(policy=SrtpPolicy.OFFERED)
    calling, called = make(srtp=offered), make()
    calling.create_offer()
    assert calling.fall_back(488)
    offer, _ = agree(calling, called)
    assert "a=crypto" not in offer
    assert calling.video.keying == "none"
    assert any(warning.startswith("video: ") for warning in calling.warnings)
    late = make(srtp=offered, video=None)
    late.create_offer()
    late.fall_back(488)
    late.config = replace(late.config, video=VIDEO)
    assert b"a=crypto" not in late.create_offer()


async def test_dtls_has_an_association_for_each_track(make):
    calling, called = make(srtp=DTLS, rtcp_mux=True), make(srtp=DTLS, rtcp_mux=True)
    agree(calling, called)
    assert calling.keys_pending
    await calling.keyed()
    await called.keyed()
    assert not calling.keys_pending
    assert calling.keys.dtls is not calling.video.keys.dtls
    assert calling.video.keying == "dtls"
    assert calling.rehandshakes == 0


async def test_each_track_tells_how_long_its_own_handshake_took(make, stack, monkeypatch):
    calling, called = make(srtp=DTLS, rtcp_mux=True), make(srtp=DTLS, rtcp_mux=True)
    offer = calling.create_offer()
    port, held = calling._video.stream, []
    send = port.send_datagram

    def hold_back(*datagram, **which):
        held.append((datagram, which))
        return True

    monkeypatch.setattr(port, "send_datagram", hold_back)
    calling.accept_answer(called.accept_offer(offer))
    # The answer to the call is no answer to a line that came later.
    before = stack.media.now() - 100
    assert calling.keyed_after(before) is None
    await calling.keys.wait()
    assert 0 < calling.keyed_after(before) < 50
    assert calling.keyed_after(before + 200) == 0
    assert calling.video.keyed_after(before) is None
    monkeypatch.setattr(port, "send_datagram", send)
    for datagram, which in held:
        send(*datagram, **which)
    await calling.keyed()
    assert calling.keyed_after(before) < calling.video.keyed_after(before) < 50


async def test_an_answer_of_another_fork_takes_the_place_of_both_tracks(make):
    calling, first, second = make(srtp=SDES), make(srtp=SDES), make(srtp=SDES)
    offer = calling.create_offer()
    calling.accept_early_answer(first.accept_offer(offer))
    before = calling.video.remote
    calling.accept_other_answer(second.accept_offer(offer))
    assert calling.video.remote == second.video.local != before


async def test_ice_offers_each_track_its_own_candidates_and_no_bundle(make):
    calling, called = (make(srtp=DTLS, rtcp_mux=True, ice=True) for _ in range(2))
    offer, answer = agree(calling, called)
    for body in (offer, answer):
        assert "BUNDLE" not in body
        assert section(body, "audio").count("a=candidate") >= 1
        assert section(body, "video").count("a=candidate") >= 1
        assert [section(body, kind).partition("a=mid:")[2][0] for kind in ("audio", "video")] == [
            "0",
            "1",
        ]
        assert "a=msid:callmeter video" in body
    assert "BUNDLE 0" in make(srtp=DTLS, ice=True, video=None).create_offer().decode()


@pytest.mark.parametrize("ice", [False, True])
async def test_video_on_the_port_of_the_audio_is_refused_and_the_audio_bundled_alone(make, ice):
    calling, called = (make(srtp=DTLS, rtcp_mux=True, ice=ice) for _ in range(2))
    offer = calling.create_offer().decode()
    ports = [port_of(offer, kind) for kind in ("audio", "video")]
    bundled = offer.replace(f"m=video {ports[1]} ", f"m=video {ports[0]} ")
    bundled = bundled.replace("t=0 0\r\n", "t=0 0\r\na=group:BUNDLE 0 1\r\n")
    if ice:
        head, mark, video = bundled.partition("m=video")
        lines = [line for line in video.split("\r\n") if not line.startswith("a=candidate")]
        bundled = head + mark + "\r\n".join(lines)
    else:
        for mid, kind in enumerate(("audio", "video")):
            line = f"m={kind} {port_of(bundled, kind)} UDP/TLS/RTP/SAVP"
            head, mark, rest = bundled.partition(line)
            first, end, more = rest.partition("\r\n")
            bundled = f"{head}{mark}{first}{end}a=mid:{mid}\r\n{more}"
    answer = called.accept_offer(bundled.encode()).decode()
    assert "BUNDLE" in called.video_refused
    assert port_of(answer, "video") == 0
    assert "a=group:BUNDLE 0\r\n" in answer


async def test_each_track_is_captured_apart(make):
    calling, called = make(capture=CaptureConfig()), make()
    assert calling.captures == called.captures == ()
    agree(calling, called)
    assert len(calling.captures) == 2


async def test_video_has_no_use_before_it_runs_and_after(make, tmp_path):
    calling, called = make(), make(video=VideoConfig(codecs=("H264",)))
    calling.create_offer()
    video = calling._video
    assert video.stream is not None
    for use in (video.request_key_frame, lambda: video.record(tmp_path / "no.ivf")):
        with pytest.raises(LocalProtocolError, match="no video"):
            use()
    calling.rollback()
    agree(calling, called)
    assert isinstance(calling.video.record(tmp_path / "a.h264"), AnnexBRecorder)
    both = make(), make()
    agree(*both)
    assert isinstance(both[0].video.record(tmp_path / "a.ivf"), IvfRecorder)
    agreed = both[0].video._agreed
    running = both[0].video
    both[0].close()
    running._begin(*agreed)
    assert running.stream is None
    assert await running.play(TestPattern()) == 0.0
    running.request_key_frame()
    late = running.record(tmp_path / "late.ivf")
    assert isinstance(late, IvfRecorder)
    assert (tmp_path / "late.ivf").stat().st_size == 32


async def test_an_error_says_which_track_has_no_keys(make, monkeypatch):
    calling, called = make(srtp=DTLS, rtcp_mux=True), make(srtp=DTLS, rtcp_mux=True)
    agree(calling, called)
    both = calling.unkeyed(DtlsTimeout, "no DTLS handshake")
    assert (str(both), both.stream) == ("no DTLS handshake", "")
    await calling.keyed()
    await called.keyed()
    monkeypatch.setattr(VideoTrack, "keys_pending", True)
    late = calling.unkeyed(DtlsTimeout, "no DTLS handshake")
    assert (str(late), late.stream) == ("video: no DTLS handshake", "video")
    assert late.evidence
    again = pickle.loads(pickle.dumps(late))
    assert (str(again), again.stream) == (str(late), "video")


async def test_an_error_about_video_that_several_wait_for_says_so_once(make, monkeypatch):
    calling, called = make(srtp=DTLS, rtcp_mux=True), make(srtp=DTLS, rtcp_mux=True)
    agree(calling, called)
    await calling.keyed()
    failure = DtlsTimeout("no DTLS handshake")

    async def fail():
        raise failure

    monkeypatch.setattr(calling.video, "keyed", fail)
    monkeypatch.setattr(calling.video.keys, "renewed", fail)
    for wait in (calling.keyed, calling.renewed, calling.keyed):
        with pytest.raises(DtlsTimeout) as caught:
            await wait()
        assert (str(caught.value), caught.value.stream) == ("video: no DTLS handshake", "video")


async def test_an_answer_whose_video_is_somewhere_impossible_says_what_it_is_about(make):
    calling, called = make(), make()
    answer = called.accept_offer(calling.create_offer()).decode()
    head, mark, video = answer.partition("m=video")
    first, end, rest = video.partition("\r\n")
    elsewhere = f"{head}{mark}{first}{end}c=IN IP6 ::1{end}{rest}"
    with pytest.raises(NegotiationError, match=r"video: .* is IPv6") as caught:
        calling.accept_answer(elsewhere.encode())
    assert caught.value.stream == "video"


async def test_a_recording_is_of_the_codec_that_arrives_not_of_the_one_that_is_sent(make, tmp_path):
    calling, called = make(), make()
    agree(calling, called)
    assert calling.video.codec == "VP8"
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(called.video.play(TestPattern(64, 48, codec="H264")))
        await calling.video.wait_for_frames()
        assert isinstance(calling.video.record(tmp_path / "seen.h264"), AnnexBRecorder)
        called.close()


async def test_who_plays_a_source_is_told_what_it_raised(make):
    class Broken(TestPattern):
        def next_frame(self):
            raise RuntimeError("the camera is gone")

    calling, called = make(), make()
    agree(calling, called)
    with pytest.raises(RuntimeError, match="the camera is gone"):
        await calling.video.play(Broken(64, 64), seconds=60)
