from __future__ import annotations

import pickle

import pytest

from callmeter.config import MediaConfig
from callmeter.errors import ConfigurationError
from callmeter.video_config import VideoCodec, VideoConfig


def test_without_a_word_there_is_no_video():
    assert MediaConfig().video is None


def test_video_is_offered_in_both_codecs_marked_af41_and_with_feedback():
    config = VideoConfig()
    assert config.codecs == (VideoCodec.VP8, VideoCodec.H264)
    assert (config.dscp, config.feedback) == (34, True)
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize("name", ["H264", "h264", "H.264"])
def test_a_codec_is_known_by_each_of_its_names(name):
    assert VideoConfig(codecs=(name,)).codecs == (VideoCodec.H264,)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"codecs": ("AV1",)}, "VP8, H264"),
        ({"bandwidth": 0}, "bandwidth"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(settings, words):
    with pytest.raises(ConfigurationError, match=words):
        VideoConfig(**settings)
