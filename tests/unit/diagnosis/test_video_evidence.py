"""What the facts of video say together."""

from __future__ import annotations

import pytest

from callmeter.diagnosis import VideoEvidence


@pytest.mark.parametrize(
    ("feedback", "can"),
    [((), False), (("nack",), False), (("nack pli",), True), (("nack", "ccm fir"), True)],
)
def test_a_key_frame_can_be_asked_for_by_either_message(feedback, can):
    assert VideoEvidence(feedback=frozenset(feedback)).asks_for_key_frames is can
