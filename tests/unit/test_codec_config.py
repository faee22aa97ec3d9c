"""Settings of codecs."""

from __future__ import annotations

import pickle

import pytest

from callmeter.codec_config import Codec, OpusConfig
from callmeter.errors import ConfigurationError


@pytest.mark.parametrize("name", ["opus", "OPUS", "Opus"])
def test_the_case_of_a_codec_s_name_does_not_matter(name):
    assert Codec(name) is Codec.OPUS


def test_an_unknown_codec_is_a_value_error():
    with pytest.raises(ValueError, match="G729"):
        Codec("G729")


@pytest.mark.parametrize(
    "values", [{"bitrate": 5999}, {"max_bitrate": 510_001}, {"payload_type": 95}]
)
def test_what_opus_cannot_do_is_refused(values):
    with pytest.raises(ConfigurationError, match=next(iter(values))):
        OpusConfig(**values)


def test_settings_can_be_pickled():
    config = OpusConfig(bitrate=24_000, in_band_fec=True)
    assert pickle.loads(pickle.dumps(config)) == config
