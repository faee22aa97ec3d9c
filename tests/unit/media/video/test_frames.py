from __future__ import annotations

import pytest

from callmeter.errors import ConfigurationError, RtpSyntaxError
from callmeter.media.video.frames import Discard, EncodedFrame, StoredFrames, picture_size

STEP = 6000
SECOND = 90_000


def stored(keys="K....", *, loop=True, step=STEP):
    frames = [
        EncodedFrame(bytes([number]), number * step, key == "K") for number, key in enumerate(keys)
    ]
    return StoredFrames(frames, duration=step, loop=loop)


def taken(source, count):
    return [source.next_frame() for _ in range(count)]


def order(frames):
    return [frame.data[0] for frame in frames]


def test_time_goes_on_when_the_frames_start_again():
    frames = taken(stored(), 12)
    assert order(frames) == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert [frame.timestamp for frame in frames] == [STEP * number for number in range(12)]
    assert [frame.key_frame for frame in frames[4:7]] == [False, True, False]


def test_frames_that_do_not_start_again_end():
    source = stored("K.", loop=False)
    assert order(taken(source, 2)) == [0, 1]
    assert source.next_frame() is None
    assert source.next_frame() is None


def test_steps_of_different_length_are_kept():
    frames = [EncodedFrame(b"k", 0, True), EncodedFrame(b"a", 100, False)]  # noqa: FBT003
    source = StoredFrames(frames, duration=900, loop=True)
    assert [frame.timestamp for frame in taken(source, 4)] == [0, 100, 1000, 1100]
    assert source.frame_rate == pytest.approx(180)


def test_a_key_frame_that_is_asked_for_comes_next():
    source = stored("K........K.........")
    taken(source, 18)
    source.request_key_frame()
    frames = taken(source, 3)
    assert order(frames) == [9, 10, 11]
    assert frames[0].timestamp == 18 * STEP


def test_a_key_frame_that_is_due_anyway_is_enough():
    source = stored("K........")
    taken(source, 9)
    source.request_key_frame()
    assert order(taken(source, 9)) == list(range(9))


def test_a_key_frame_follows_another_after_half_a_second_at_the_soonest():
    source = stored("K" + "." * 29)
    taken(source, 2)
    source.request_key_frame()
    frames = taken(source, 8)
    assert order(frames) == [2, 3, 4, 5, 6, 7, 0, 1]
    assert frames[6].timestamp == 8 * STEP >= SECOND // 2


def test_who_asks_all_the_time_gets_two_key_frames_a_second():
    source = stored("K" + "." * 29)
    keys = 0
    for frame in iter(source.next_frame, None):
        keys += frame.key_frame
        source.request_key_frame()
        if frame.timestamp >= 10 * SECOND:
            break
    assert 18 <= keys <= 21


@pytest.mark.parametrize("keys", ["", ".K"])
def test_video_begins_with_a_key_frame(keys):
    with pytest.raises(ConfigurationError, match="begins with a key frame"):
        stored(keys)


@pytest.mark.parametrize("step", [0, -1])
def test_timestamps_grow(step):
    with pytest.raises(ConfigurationError, match="do not grow"):
        stored("K.", step=step)


def test_discarded_frames_are_counted():
    sink = Discard()
    sink.write(EncodedFrame(b"k", 0, key_frame=True))
    sink.close()
    assert sink.frames == 1


def test_the_size_of_a_picture_is_read_from_its_key_frame():
    parameter_set = bytes.fromhex("6742c00dda0507e840000003004000000f03c50aa8")
    assert picture_size("H264", b"\0\0\1\x09\x10\0\0\1" + parameter_set) == (320, 240)
    assert picture_size("H264", b"\0\0\1\x65\x88") is None
    assert picture_size("VP8", bytes.fromhex("b05c009d012a4001f000")) == (320, 240)
    with pytest.raises(RtpSyntaxError):
        picture_size("VP8", bytes(10))
