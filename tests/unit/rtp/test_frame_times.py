from __future__ import annotations

import pytest

from callmeter.rtp.frame_times import MOST_FRAMES_A_SECOND, FrameTimes, Freezes


def shown(*intervals):
    """Freezes after frames with so much time between them."""
    freezes = Freezes()
    now = 5.0
    freezes.note(now)
    for interval in intervals:
        now += interval
        freezes.note(now)
    return freezes


def test_frames_of_the_last_second_are_the_rate():
    times = FrameTimes()
    for number in range(45):
        times.note(number / 30, key_frame=number % 30 == 0, size=None)
    assert times.rate(44 / 30 + 0.01) == 30
    assert times.rate(44 / 30 + 0.51) == 15
    assert times.rate(9.0) == 0
    assert (times.frames, times.key_frames) == (45, 2)
    assert times.key_frame_interval_ms == pytest.approx(1000)


def test_there_is_no_rate_in_the_first_second_and_no_interval_before_the_second_key_frame():
    times = FrameTimes()
    assert times.rate(100.0) is None
    times.note(100.0, key_frame=True, size=(1280, 720))
    assert times.rate(100.9) is None
    assert times.key_frame_interval_ms is None
    assert times.megapixels == pytest.approx(0.9216)


def test_the_size_is_the_last_that_was_said():
    times = FrameTimes()
    assert times.megapixels is None
    times.note(0.0, key_frame=True, size=(640, 480))
    times.note(0.1, key_frame=False, size=None)
    assert times.size == (640, 480)
    times.note(0.2, key_frame=True, size=(320, 240))
    assert times.size == (320, 240)


def test_a_flood_of_frames_takes_no_more_memory():
    times = FrameTimes()
    for number in range(5 * MOST_FRAMES_A_SECOND):
        times.note(number / 5000, key_frame=False, size=None)
    assert times.rate(1.0) == MOST_FRAMES_A_SECOND


def test_a_steady_picture_does_not_freeze():
    assert shown(*[0.033] * 100).count == 0


@pytest.mark.parametrize(
    ("usual", "pause", "counts"),
    [
        (0.1, 0.299, False),
        (0.1, 0.301, True),  # three times the average
        (0.02, 0.169, False),
        (0.02, 0.171, True),  # the average and 150 ms
    ],
)
def test_a_freeze_is_three_times_the_average_and_150_ms_above_it(usual, pause, counts):
    freezes = shown(*[usual] * 30, pause, usual)
    assert freezes.count == counts
    assert freezes.duration_s == pytest.approx(pause if counts else 0)


def test_each_freeze_counts_once_however_long():
    freezes = shown(*[0.03] * 10, 2.0, *[0.03] * 30, 0.5, 0.03)
    assert freezes.count == 2
    assert freezes.duration_s == pytest.approx(2.5)


def test_the_average_is_that_of_30_frames():
    assert shown(*[1.0] * 30, *[0.03] * 29, 0.2).count == 0
    assert shown(*[1.0] * 30, *[0.03] * 30, 0.2).count == 1


def test_too_few_frames_have_no_average():
    assert shown(*[0.03] * 4, 5.0).count == 0
    assert shown(*[0.03] * 5, 5.0).count == 1


def test_a_pause_that_is_known_of_is_no_freeze():
    freezes = shown(*[0.03] * 30)
    freezes.pause()
    freezes.note(60.0)
    freezes.note(60.5)
    assert freezes.count == 1
    assert freezes.duration_s == pytest.approx(0.5)
