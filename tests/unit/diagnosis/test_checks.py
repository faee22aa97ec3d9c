"""All checks together: their names, their order, and calls that are as they should be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.diagnosis import CHECKS, VIDEO_CHECKS, CallEvidence, VideoEvidence, diagnose
from callmeter.srtp.trial import FailureCause

SEED = {
    "tls_configured",
    "tls_verified",
    "srtp_negotiated",
    "suites_compatible",
    "profile_right",
    "dtls_reachable",
    "fingerprint_valid",
}


def bad(evidence, video=None):
    return {
        finding.check: finding.status.value
        for finding in diagnose(evidence, video)
        if finding.status in {"warn", "fail"}
    }


def test_each_check_has_a_name_of_its_own_a_question_and_a_remedy():
    names = [each.identifier for each in CHECKS]
    assert len(set(names)) == len(names) == 26
    assert set(names) >= SEED
    assert all(each.question.endswith("?") and each.remedy for each in CHECKS)


@pytest.mark.parametrize("kind", ["healthy", "plain", "by_dtls"])
def test_a_call_that_went_well_has_nothing_to_mend(kind, request):
    assert bad(request.getfixturevalue(kind)) == {}


def test_a_call_that_never_began_has_nothing_to_tell():
    assert {finding.status.value for finding in diagnose(CallEvidence())} == {"skip"}


def test_the_order_of_the_findings_is_that_of_the_checks(healthy):
    assert [finding.check for finding in diagnose(healthy)] == [each.identifier for each in CHECKS]


@pytest.mark.parametrize(
    ("cause", "check"),
    [
        (FailureCause.PLAIN_RTP, "plain_for_secure"),
        (FailureCause.TAG_LENGTH, "tag_length"),
        (FailureCause.ROLLOVER, "roc_consistent"),
        (FailureCause.KEY, "key_intact"),
    ],
)
@pytest.mark.parametrize("received", [0, 200])
def test_packets_that_nothing_decrypts_have_one_cause(healthy, cause, check, received):
    silent = replace(
        healthy,
        packets_received=received,
        undecryptable=80,
        failure=cause,
        dropped={"authentication": 80},
        rtcp_received=0,
        rtcp_in_clear=cause is FailureCause.PLAIN_RTP,
        reported_loss=None,
    )
    assert bad(silent) == {check: "fail"}


def test_an_ignored_rekey_is_not_taken_for_an_altered_key(healthy):
    ignored = replace(healthy, unfollowed=90, old_key_packets=90)
    assert bad(ignored) == {"rekey_followed": "fail"}
    lasting = replace(ignored, failure=FailureCause.KEY, undecryptable=200)
    assert bad(lasting) == {"rekey_followed": "fail"}


# with video


def test_each_check_of_video_is_named_for_it_and_has_a_question_and_a_remedy():
    names = [each.identifier for each in VIDEO_CHECKS]
    assert len(set(names)) == len(names) == 24
    assert all(name.startswith("video_") for name in names)
    assert all(each.question.endswith("?") and each.remedy for each in VIDEO_CHECKS)
    for name in SEED - {"tls_configured", "tls_verified"}:
        assert f"video_{name}" in names


def test_a_call_with_audio_and_video_that_went_well_has_nothing_to_mend(healthy, seen):
    assert bad(healthy, seen) == {}


def test_beside_video_each_finding_of_a_stream_says_which_one_it_is_about(healthy, seen):
    found = diagnose(healthy, seen)
    assert [one.check for one in found] == [each.identifier for each in (*CHECKS, *VIDEO_CHECKS)]
    spoken = {one.check: one.detail.partition(": ")[0] for one in found}
    assert spoken["key_intact"] == spoken["media_both_ways"] == "audio"
    assert {spoken[each.identifier] for each in VIDEO_CHECKS} == {"video"}
    assert not spoken["message_fits_udp"].startswith("audio")


def test_findings_of_a_call_without_video_are_the_same_as_those_of_one_that_could_have_some(
    healthy,
):
    alone = diagnose(healthy)
    beside = diagnose(healthy, VideoEvidence(refused="port 0", by_peer=True))
    assert beside[: len(alone)] == alone
    assert {one.check: one.status.value for one in beside[len(alone) :]} == {
        each.identifier: "warn" if each.identifier == "video_agreed" else "skip"
        for each in VIDEO_CHECKS
    }


@pytest.mark.parametrize(
    ("cause", "check"),
    [
        (FailureCause.PLAIN_RTP, "video_plain_for_secure"),
        (FailureCause.TAG_LENGTH, "video_tag_length"),
        (FailureCause.ROLLOVER, "video_roc_consistent"),
        (FailureCause.MKI, "video_mki_agreed"),
        (FailureCause.KEY, "video_key_intact"),
    ],
)
@pytest.mark.parametrize("received", [0, 200])
def test_video_that_nothing_decrypts_has_one_cause_and_the_audio_none(
    healthy, seen, cause, check, received
):
    missing = replace(
        seen,
        packets_received=received,
        undecryptable=80,
        failure=cause,
        dropped={"authentication": 80},
        reported_loss=None,
    )
    assert bad(healthy, missing) == {check: "fail"}
