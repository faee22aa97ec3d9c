"""What audio and video refuse alike."""

from __future__ import annotations

import pytest

from callmeter.config import MediaConfig, VideoConfig
from callmeter.errors import ConfigurationError

TRACKS = pytest.mark.parametrize("track", [MediaConfig, VideoConfig])


@TRACKS
@pytest.mark.parametrize("dscp", [-1, 64])
def test_a_code_point_has_six_bits(track, dscp):
    assert track(dscp=63).dscp == 63
    assert track(dscp=None).dscp is None
    with pytest.raises(ConfigurationError, match="dscp is 0 to 63"):
        track(dscp=dscp)


@TRACKS
@pytest.mark.parametrize("message", ["", "NACK", "nack  pli", "nack\r\na=x", "nack "])
def test_a_feedback_message_is_words_of_one_line(track, message):
    assert track(feedback_messages=("nack pli",)).feedback_messages == ("nack pli",)
    with pytest.raises(ConfigurationError, match="is no feedback message such as"):
        track(feedback_messages=("nack", message))


@pytest.mark.parametrize(
    ("track", "codecs", "words"),
    [
        (MediaConfig, (), "at least one codec is needed"),
        (VideoConfig, (), "at least one video codec is needed"),
        (MediaConfig, ("VP8",), "^codecs are some of PCMU, PCMA, G722, opus: 'VP8'"),
        (VideoConfig, ("opus",), "^video codecs are some of VP8, H264: 'opus'"),
        (MediaConfig, ("PCMU", "pcmu"), "a codec is listed twice"),
        (VideoConfig, ("H264", "H.264"), "a video codec is listed twice"),
    ],
)
def test_codecs_are_of_the_track_and_listed_once(track, codecs, words):
    with pytest.raises(ConfigurationError, match=words):
        track(codecs=codecs)
