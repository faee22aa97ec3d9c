from __future__ import annotations

import pytest

from callmeter.errors import ConfigurationError
from callmeter.media.video_parameters import VideoFormat, VideoParameters

GIVEN = {"codec": "VP8", "payload_type": 96, "remote": ("127.0.0.1", 4000)}


def test_one_codec_is_the_only_format_unless_more_are_given():
    parameters = VideoParameters(**GIVEN)
    assert parameters.formats == (VideoFormat("VP8", 96),)
    assert parameters.clock_rate == 90_000
    assert parameters.accepted == {96: "VP8"}
    assert parameters.accepted_events == {}
    assert parameters.accepted_noise == frozenset()
    assert parameters.clock_rate_of("VP8") == 90_000


def test_the_first_format_of_a_codec_is_the_one_to_send():
    formats = (VideoFormat("H264", 97), VideoFormat("H264", 98, 0))
    parameters = VideoParameters(**GIVEN, formats=formats)
    assert parameters.format_of("H264") == formats[0]
    assert parameters.format_of("VP8") is None


@pytest.mark.parametrize(
    "changes", [{"codec": "AV1"}, {"payload_type": 128}, {"remote": ("127.0.0.1", -1)}]
)
def test_what_cannot_be_sent_is_refused(changes):
    with pytest.raises(ConfigurationError):
        VideoParameters(**GIVEN | changes)
