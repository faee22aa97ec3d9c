from __future__ import annotations

from callmeter.rtp.video import CLOCK_RATE, VideoPayload


def test_a_payload_that_says_nothing_more_has_no_size_and_no_number():
    assert VideoPayload(starts_frame=True, key_frame=None)[2:] == (None, None, True)
    assert CLOCK_RATE == 90_000
