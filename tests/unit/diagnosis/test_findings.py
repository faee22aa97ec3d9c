"""What a check makes of a verdict."""

from __future__ import annotations

import pytest

from callmeter.diagnosis import CallEvidence, VideoEvidence
from callmeter.diagnosis.findings import (
    check,
    fails,
    of_audio,
    of_video,
    passes,
    skips,
    warns,
)
from callmeter.metrics.report import Finding, FindingStatus


@pytest.mark.parametrize(
    ("verdict", "status", "remedy"),
    [
        (passes("seen"), FindingStatus.PASS, ""),
        (skips("seen"), FindingStatus.SKIP, ""),
        (warns("seen"), FindingStatus.WARN, "mend it"),
        (fails("seen"), FindingStatus.FAIL, "mend it"),
        (warns("seen", "otherwise"), FindingStatus.WARN, "otherwise"),
        (fails("seen", "otherwise"), FindingStatus.FAIL, "otherwise"),
    ],
)
def test_only_what_is_bad_has_a_remedy(verdict, status, remedy):
    @check("Is it well?", "mend it")
    def wellness(_):
        return verdict

    assert wellness(CallEvidence()) == Finding("wellness", status, "seen", remedy)
    assert wellness.question == "Is it well?"


def test_a_check_of_a_stream_names_it_once():
    @check("Is it well?", "mend it")
    def wellness(evidence):
        return passes("video: seen" if evidence.answered else "seen")

    of_it = of_video(wellness)
    assert of_it.identifier == "video_wellness"
    for answered in (True, False):
        assert of_it(VideoEvidence(agreed=True, answered=answered)).detail == "video: seen"
    assert of_audio(wellness)(CallEvidence()) == Finding(
        "wellness", FindingStatus.PASS, "audio: seen"
    )


def test_where_there_is_no_video_its_checks_are_skipped_unless_they_are_about_that():
    @check("Is it well?", "mend it")
    def wellness(_):
        return fails("seen")

    without = VideoEvidence()
    assert of_video(wellness)(without).status is FindingStatus.SKIP
    assert of_video(wellness, always=True)(without).status is FindingStatus.FAIL
