from __future__ import annotations

import numpy as np
import pytest

from callmeter.errors import ConfigurationError
from callmeter.media.video import TestPattern, decode, mean_luma
from callmeter.media.video.frames import VideoSource
from callmeter.rtp import h264

CODECS = ["VP8", "H264"]


def taken(source, count):
    return [source.next_frame() for _ in range(count)]


@pytest.mark.parametrize("codec", CODECS)
def test_the_bar_moves_across_the_picture(codec):
    source = TestPattern(codec=codec)
    source.prepare()
    assert isinstance(source, VideoSource)
    seen = list(decode(taken(source, 30), codec))
    places = [int(np.argmax(picture[0] > 200)) for picture in seen[:26]]
    assert places == sorted(places)
    assert places[0] == 0
    assert places[-1] > 250
    assert all(100 < mean_luma(picture) < 130 for picture in seen)
    assert {picture.shape for picture in seen} == {(240, 320)}


@pytest.mark.parametrize("codec", CODECS)
def test_it_has_the_rate_and_the_key_frames_that_were_asked_for(codec):
    source = TestPattern(64, 48, 10, codec, key_frame_interval_s=1.5, bitrate=200_000)
    frames = taken(source, 45)
    assert [number for number, frame in enumerate(frames) if frame.key_frame] == [0, 15, 30]
    assert [frame.timestamp for frame in frames] == [9000 * number for number in range(45)]
    assert (source.size, source.frame_rate, source.codec) == ((64, 48), 10, codec)


@pytest.mark.parametrize("codec", CODECS)
def test_its_bit_rate_is_near_the_wanted_one(codec):
    source = TestPattern(320, 240, 15, codec, bitrate=300_000)
    bits = 8 * sum(len(frame.data) for frame in taken(source, 30)) / 2
    assert bits == pytest.approx(300_000, rel=0.3)


def test_a_key_frame_is_there_when_it_is_asked_for():
    source = TestPattern(64, 48)
    taken(source, 20)
    source.request_key_frame()
    frame = source.next_frame()
    assert frame.key_frame
    assert frame.timestamp == 20 * 6000


def test_its_h264_goes_to_who_takes_no_fragments():
    for frame in taken(TestPattern(640, 480, 10, "H264", bitrate=2_000_000), 20):
        payloads = h264.packetize(frame.data, 1200, mode=0)
        assert len(payloads) > 1 or not frame.key_frame


def test_two_patterns_share_their_octets_and_keep_places_of_their_own():
    first, second = TestPattern(64, 48), TestPattern(64, 48)
    taken(first, 7)
    frames = [taken(source, 30) for source in (first, second)]
    assert frames[1][9].timestamp == 9 * 6000
    assert frames[0][2].data is frames[1][9].data
    assert repr(TestPattern(64, 48)) == "TestPattern(64, 48, 15.0, 'VP8')"


@pytest.mark.parametrize(
    "setting",
    [
        {"codec": "VP9"},
        {"width": 321},
        {"width": 30},
        {"height": 1082},
        {"frame_rate": 0.5},
        {"frame_rate": float("nan")},
        {"key_frame_interval_s": 11},
        {"bitrate": 0},
    ],
)
def test_what_cannot_be_made_is_refused(setting):
    with pytest.raises(ConfigurationError):
        TestPattern(**setting)
