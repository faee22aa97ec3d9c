"""All checks together: their names, their order, and calls that are as they should be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.diagnosis import CHECKS, CallEvidence, diagnose
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


def bad(evidence):
    return {
        finding.check: finding.status.value
        for finding in diagnose(evidence)
        if finding.status in {"warn", "fail"}
    }


def test_each_check_has_a_name_of_its_own_a_question_and_a_remedy():
    names = [each.identifier for each in CHECKS]
    assert len(set(names)) == len(names) == 24
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
