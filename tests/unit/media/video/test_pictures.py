from __future__ import annotations

import av
import numpy as np
import pytest

from callmeter.errors import ConfigurationError
from callmeter.media.video import pictures
from callmeter.media.video.frames import EncodedFrame, picture_size
from callmeter.media.video.pictures import decode, encode, mean_luma


def grey(*levels):
    return [np.full((48, 64), level, np.uint8) for level in levels]


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_what_was_encoded_is_decoded_with_the_same_brightness(codec):
    frames = encode(grey(30, 120, 200), codec, frame_rate=12.5, bitrate=100_000)
    assert [frame.key_frame for frame in frames] == [True, False, False]
    assert [frame.timestamp for frame in frames] == [0, 7200, 14_400]
    assert picture_size(codec, frames[0].data) == (64, 48)
    seen = list(decode(frames, codec))
    assert [picture.shape for picture in seen] == [(48, 64)] * 3
    assert [mean_luma(picture) for picture in seen] == pytest.approx([30, 120, 200], abs=4)


def test_no_pictures_are_no_frames():
    assert encode([], "VP8", frame_rate=30, bitrate=100_000) == []
    assert list(decode([], "VP8")) == []


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_damaged_frames_give_no_picture_and_the_others_do(codec):
    frames = encode(grey(30, 120), codec, frame_rate=30, bitrate=100_000)
    damaged = EncodedFrame(b"\xff" * 40, 0, key_frame=False)
    seen = list(decode([damaged, *frames], codec))
    assert mean_luma(seen[-1]) == pytest.approx(120, abs=4)


def test_a_picture_larger_than_any_is_not_decoded():
    frames = encode(grey(120), "VP8", frame_rate=30, bitrate=100_000)
    huge = bytearray(frames[0].data)
    huge[6:10] = bytes.fromhex("ff3fff3f")
    assert list(decode([EncodedFrame(bytes(huge), 0, key_frame=True)], "VP8")) == []


def test_an_encoder_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(pictures._ENCODERS, "VP8", "libnothing")
    with pytest.raises(ConfigurationError, match="does not encode VP8"):
        encode(grey(30), "VP8", frame_rate=30, bitrate=100_000)
    assert issubclass(av.codec.codec.UnknownCodecError, ValueError)


def test_another_codec_is_not_decoded():
    with pytest.raises(ConfigurationError, match="AV1 is not decoded"):
        list(decode([], "AV1"))
