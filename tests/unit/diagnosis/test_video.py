"""Checks of video alone."""

from __future__ import annotations

import pytest

from callmeter.diagnosis import video
from callmeter.errors import DtlsTimeout, NegotiationError, NoCommonCodec, SrtpRequired
from callmeter.srtp.trial import FailureCause

NOTHING = {"packets_received": 0, "frames_received": 0, "key_frames_received": 0}
REFUSED = {"agreed": False, "codec": None, "direction": None}
PLAIN_FEEDBACK = {"feedback": frozenset()}


def judged(status_of, each, evidence, changes, status, words=""):
    found, finding = status_of(each, evidence, **changes)
    assert found == status
    assert words in finding.detail
    return finding


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "pass", "VP8, sendrecv"),
        ({"codec": None, "direction": None}, "pass", "video, not begun yet"),
        (REFUSED, "skip", "no answer has told yet"),
        (REFUSED | {"refused": "given up"}, "skip", "given up"),
        (REFUSED | {"refused": "the peer offers none"}, "skip", "offers none"),
        (
            REFUSED | {"refused": "port 0", "by_peer": True},
            "warn",
            "the peer refuses m=video, port 0 (offered: RTP/SAVPF with VP8, H264)",
        ),
        (
            REFUSED | {"refused": "port 0", "by_peer": True, "offer": None},
            "warn",
            "the peer refuses m=video, port 0",
        ),
        (REFUSED | {"refused": "none of the codecs"}, "warn", "was refused: none of the codecs"),
        ({"error": NoCommonCodec("video: none")}, "fail", "none"),
        ({"error": NegotiationError("video: the address is IPv6")}, "fail", "IPv6"),
        ({"error": SrtpRequired("video: no keys")}, "skip", "another check"),
        ({"error": DtlsTimeout("late")}, "skip", "another check"),
    ],
)
def test_whether_video_was_agreed_on(status_of, seen, changes, status, words):
    judged(status_of, video.agreed, seen, changes, status, words)


def test_what_to_do_about_a_refusal_depends_on_who_refuses(status_of, seen):
    here = status_of(video.agreed, seen, agreed=False, refused="no codec")[1]
    bundled = status_of(video.agreed, seen, agreed=False, refused="on that of audio (BUNDLE)")[1]
    assert "bundlePolicy" in bundled.remedy
    there = status_of(video.agreed, seen, agreed=False, refused="port 0", by_peer=True)[1]
    assert "VideoConfig.codecs" in here.remedy
    assert "VideoConfig(feedback=False)" in there.remedy


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "pass", "150 packets sent, 150 received"),
        ({"direction": "sendonly"}, "skip", "sendonly"),
        ({"direction": None}, "skip", "None"),
        ({"direction": "recvonly", "packets_sent": 0}, "pass", "150 received"),
        ({"packets_sent": 0}, "skip", "150 packets received, and no source has played here"),
        ({"failure": FailureCause.KEY}, "skip", "another check"),
        (NOTHING | {"rtcp_received": 0}, "skip", "another check"),
        ({"seconds": 0.5}, "skip", "too early"),
        (NOTHING, "warn", "8 RTCP reports of the peer came, and no packet"),
        (NOTHING | {"dropped": {"source": 9}}, "fail", "reason: 9 source)"),
        ({"reported_loss": 99.6}, "fail", "a loss of 100 % of the 150"),
        ({"reported_loss": 99.6, "packets_sent": 20}, "pass", "20"),
        ({"reported_loss": None}, "warn", "or cannot decrypt them"),
        ({"reported_loss": None, "keying": "none"}, "warn", "it does not get them"),
        ({"reported_loss": None, "rtcp_received": 1}, "pass", "150"),
    ],
)
def test_whether_video_flows_both_ways(status_of, seen, changes, status, words):
    judged(status_of, video.media_both_ways, seen, changes, status, words)


GARBLED = {"frames_received": 3, "frames_lost": 40}


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "pass", "45 whole frames of VP8"),
        (NOTHING, "skip", "no packet"),
        (
            NOTHING | {"dropped": {"payload_type": 70}},
            "fail",
            "70 packets came with",
        ),
        ({"malformed": 15}, "fail", "15 of 150 payloads are no VP8"),
        ({"malformed": 14}, "pass", "45"),
        ({"malformed": 9, "packets_received": 20}, "pass", "45"),
        (GARBLED, "fail", "they make 3 frames of VP8; 40 are damaged"),
        (GARBLED | {"frames_lost": 9}, "pass", "3 whole frames"),
        (GARBLED | {"frames_received": 40}, "pass", "40 whole frames"),
        # What is not there was lost, and not garbled.
        (GARBLED | {"packets_lost": 2}, "pass", "3 whole frames"),
    ],
)
def test_whether_what_arrives_is_the_agreed_codec(status_of, seen, changes, status, words):
    judged(status_of, video.payload_readable, seen, changes, status, words)


NEVER = {"key_frames_received": 0, "undecodable_s": 2.5, "key_frames_asked": 4}


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "pass", "2 key frames came"),
        ({"key_frames_received": 1}, "pass", "1 key frame came"),
        (NOTHING, "skip", "no packet"),
        (GARBLED | NEVER, "skip", "another check"),
        (NEVER | {"undecodable_s": 1.9}, "skip", "too early"),
        (
            NEVER,
            "fail",
            "150 packets came in 2.5 s, and no whole key frame: no picture",
        ),
        (NEVER | {"key_frames_asked": 1}, "fail", "1 PLI went unanswered"),
        (NEVER | {"key_frames_asked": 0}, "fail", "none was asked for"),
        (NEVER | {"feedback": frozenset({"ccm fir"})}, "fail", "4 FIR went unanswered"),
        (NEVER | {"packets_lost": 1}, "fail", "; 1 packet did not come"),
        (NEVER | {"packets_lost": 30}, "fail", "; 30 packets did not come"),
        (
            NEVER | {"key_frames_received": 1},
            "fail",
            "after a lost frame: the picture",
        ),
        (NEVER | PLAIN_FEEDBACK, "fail", "no way to ask for one"),
    ],
)
def test_whether_a_key_frame_came(status_of, seen, changes, status, words):
    judged(status_of, video.key_frame_came, seen, changes, status, words)


def test_where_no_key_frame_can_be_asked_for_avpf_is_the_remedy(status_of, seen):
    asked = status_of(video.key_frame_came, seen, **NEVER)[1]
    silent = status_of(video.key_frame_came, seen, **NEVER | PLAIN_FEEDBACK)[1]
    assert "answer PLI and FIR" in asked.remedy
    assert "AVPF at both ends" in silent.remedy


LOST = {"frames_lost": 4, "packets_lost": 6, "nacks_sent": 12}


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "pass", "no packet was lost"),
        (NOTHING, "skip", "no packet of video"),
        ({"recovered": 5, "nacks_sent": 3}, "pass", "5 packets came again, 0 frames lost"),
        (LOST | {"recovered": 1}, "pass", "1 packet came again, 4 frames lost"),
        (LOST, "warn", "4 frames lost: 12 NACK were sent, and not one packet came again"),
        (LOST | {"nacks_sent": 2}, "skip", "too few"),
        (LOST | {"frames_lost": 0}, "skip", "0 frames lost"),
        (LOST | PLAIN_FEEDBACK, "warn", "NACK was not agreed on"),
    ],
)
def test_whether_what_is_lost_comes_again(status_of, seen, changes, status, words):
    judged(status_of, video.losses_repaired, seen, changes, status, words)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "pass", "0 times, 0 % of 3.0 s"),
        ({"frames_received": 9}, "skip", "too few"),
        ({"span_s": 0.0}, "skip", "too few"),
        ({"undecodable_s": 3.0}, "skip", "another check"),
        ({"undecodable_s": 1.0}, "pass", "0 %"),
        ({"freezes": 1, "frozen_s": 0.1}, "pass", "1 time, 3 %"),
        ({"freezes": 2, "frozen_s": 0.4}, "pass", "2 times, 13 %"),
        ({"freezes": 2, "frozen_s": 0.5}, "warn", "2 times, 17 %"),
        ({"freezes": 2, "frozen_s": 0.5, "span_s": 11.0}, "pass", "2 times, 5 %"),
        ({"freezes": 3, "frozen_s": 1.5}, "fail", "3 times, 50 %"),
        ({"freezes": 3, "frozen_s": 3.5}, "fail", "100 %"),
    ],
)
def test_whether_the_picture_moves(status_of, seen, changes, status, words):
    judged(status_of, video.not_frozen, seen, changes, status, words)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "skip", "asked for none"),
        ({"key_frame_requests": 1}, "pass", "asked 1 time, 2 key frames left"),
        ({"key_frame_requests": 3, "frames_sent": 0}, "skip", "nothing was played"),
        ({"key_frame_requests": 3, "unanswered_s": 1.9}, "pass", "asked 3 times"),
        (
            {"key_frame_requests": 3, "unanswered_s": 2.5},
            "warn",
            "in 2.5 s what plays here",
        ),
    ],
)
def test_whether_the_peer_gets_the_key_frames_it_asks_for(status_of, seen, changes, status, words):
    judged(status_of, video.key_frames_sent, seen, changes, status, words)
