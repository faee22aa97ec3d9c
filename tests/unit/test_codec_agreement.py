"""What is made of the codecs that both ends know."""

from __future__ import annotations

import pytest

from callmeter.codec_agreement import (
    codec_name,
    coding_for,
    event_for,
    is_voice,
    noise_number,
    opus_format,
    packet_time,
)
from callmeter.codec_config import OpusConfig
from callmeter.media.codecs.opus import OpusCodec
from callmeter.sdp import STATIC_PAYLOAD_TYPES, PayloadFormat, telephone_event
from callmeter.sdp.remote_track import RemoteTrack

PCMU, G722, NOISE = (STATIC_PAYLOAD_TYPES[number] for number in (0, 9, 13))
OPUS = PayloadFormat(96, "OPUS", 48_000, 2, "minptime=10;useinbandfec=1")


def track(**values):
    return RemoteTrack(
        index=0, kind="audio", protocol="RTP/AVP", profile=None, rejected=False, port=9, **values
    )


def test_names_are_spelt_as_the_settings_spell_them():
    assert [codec_name(item) for item in (PCMU, G722, OPUS)] == ["PCMU", "G722", "opus"]
    assert is_voice(OPUS)
    assert not is_voice(NOISE)
    assert not is_voice(telephone_event())


def test_opus_is_described_by_what_the_settings_want():
    assert opus_format(OpusConfig()).fmtp == "minptime=10"
    described = opus_format(OpusConfig(in_band_fec=True, discontinuous=True, max_bitrate=20_000))
    assert described.fmtp == "minptime=10;maxaveragebitrate=20000;useinbandfec=1;usedtx=1"
    assert str(described.rtpmap) == "111 opus/48000/2"


def test_opus_is_encoded_as_the_peer_asks():
    assert coding_for(OPUS, OpusConfig()) == OpusCodec(redundant=True)
    assert coding_for(G722, OpusConfig()) is None


@pytest.mark.parametrize(
    ("ptime", "maxptime", "sent"),
    [
        (None, None, 20),
        (10, None, 10),
        (60, None, 60),
        (33, None, 20),
        (500, None, 20),
        (60, 40, 40),
        (None, 10, 10),
        (None, 12, 10),
        (20, 3, 5),
    ],
)
def test_the_packet_time_is_what_the_peer_prefers_within_what_it_takes(ptime, maxptime, sent):
    assert packet_time(track(ptime=ptime, maxptime=maxptime), PCMU, 20) == sent


def test_a_packet_of_opus_is_no_shorter_than_its_minptime():
    assert packet_time(track(ptime=5), OPUS, 20) == 10
    assert packet_time(track(ptime=40), OPUS, 20) == 40


def test_events_have_the_clock_of_the_audio_where_there_are_such():
    slow, fast = telephone_event(101), telephone_event(102, 48_000)
    assert event_for((OPUS, PCMU, slow, fast), OPUS) is fast
    assert event_for((OPUS, PCMU, slow, fast), G722) is slow
    assert event_for((OPUS, PCMU, slow), OPUS) is slow
    assert event_for((OPUS,), OPUS) is None


def test_noise_goes_with_audio_of_its_clock():
    assert noise_number((PCMU, NOISE), PCMU) == 13
    assert noise_number((OPUS, NOISE), OPUS) is None
