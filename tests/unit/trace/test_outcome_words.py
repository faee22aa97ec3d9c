from __future__ import annotations

import pytest

from callmeter.metrics.phases import Outcome, Phase
from callmeter.metrics.report import (
    CallReport,
    ErrorReport,
    Finding,
    FindingStatus,
    Keying,
    StreamReport,
)
from callmeter.metrics.signaling import CallTiming
from callmeter.trace.outcome_words import figure, outcome_words, security_words

SILENT = Finding("media_both_ways", FindingStatus.FAIL, "nothing came", "open the port")
LOOSE = Finding("tls_verified", FindingStatus.WARN, "nobody looked at the certificate")


def words(outcome, **fields):
    return outcome_words(CallReport(phase=Phase.CLOSED, outcome=outcome, **fields))


def test_a_good_call_worked():
    found = words(
        Outcome.SUCCESS,
        timing=CallTiming(call_setup_time_ms=1200.0, call_duration_ms=65_000.0),
    )
    assert (found.grade, found.label, found.headline) == ("good", "Success", "The call worked")
    assert found.lead == ("Answered after 1.20 s, lasted 1 min 5 s.",)


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [(900.0, "900.0 ms"), (6066.8, "6.07 s"), (59_400.0, "59.4 s"), (3.6e6, "1 h 0 min")],
)
def test_a_duration_is_said_as_people_do(milliseconds, said):
    found = words(Outcome.SUCCESS, timing=CallTiming(call_duration_ms=milliseconds))
    assert found.lead == (f"Lasted {said}.",)


def test_a_failed_check_is_said_of_a_call_that_was_answered():
    found = words(Outcome.SUCCESS, diagnosis=(LOOSE, SILENT))
    assert (found.grade, found.label) == ("bad", "Checks failed")
    assert found.headline == "The call was answered, but 1 check failed"
    assert found.lead == ("Nothing came.",)
    two = words(Outcome.COMPLETED_WITH_WARNINGS, diagnosis=(SILENT, SILENT))
    assert two.headline == "The call was answered, but 2 checks failed"


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.COMPLETED_WITH_WARNINGS])
def test_a_warning_is_something_to_look_at(outcome):
    found = words(outcome, diagnosis=(LOOSE,))
    assert (found.grade, found.headline) == ("warn", "The call worked, with something to look at")
    assert found.lead == ("Nobody looked at the certificate.",)


@pytest.mark.parametrize(
    ("outcome", "status", "headline"),
    [
        (Outcome.CALL_FAILED, 486, "The call was not answered: busy (486)"),
        (Outcome.CALL_FAILED, 200, "The call was answered and then failed"),
        (Outcome.CALL_FAILED, None, "The call failed"),
        (Outcome.NEGOTIATION_FAILED, 488, "Both ends found no common ground"),
        (Outcome.TIMEOUT, None, "Nobody answered in time"),
        (Outcome.OSERROR, None, "The network refused the call"),
        (Outcome.TEARDOWN_ERROR, 200, "The call took place, its end was never confirmed"),
        (Outcome.REGISTRATION_FAILED, 403, "The registration was refused"),
    ],
)
def test_a_failure_is_said_in_words(outcome, status, headline):
    error = ErrorReport("CallRejected", "486 Busy Here")
    found = words(outcome, final_status_code=status, error=error)
    assert (found.grade, found.label, found.headline) == ("bad", "Failed", headline)
    assert found.lead == ("486 Busy Here.",)


@pytest.mark.parametrize(
    ("error", "headline"),
    [
        ("FingerprintMismatch", "The media could not be secured"),
        ("NoCommonSuite", "Both ends have no SRTP suite in common"),
        ("SrtpRequired", "The other end would not encrypt the media"),
        ("TlsError", "The signalling could not be secured"),
    ],
)
def test_an_error_can_say_better_than_the_outcome_what_happened(error, headline):
    found = words(Outcome.CALL_FAILED, final_status_code=200, error=ErrorReport(error, "x"))
    assert found.headline == headline


def test_a_limit_that_is_breached_is_named(call):
    found = outcome_words(call())
    assert (found.grade, found.label) == ("bad", "Bad quality")
    assert found.headline == "The call worked, its quality was bad"
    assert found.lead == (
        "Answered after 812.0 ms, lasted 30.0 s.",
        "Received: jitter 45.2 ms (limit 40.0 ms), loss 3.33 % (limit 1.00 %).",
    )


def test_values_on_a_scale_have_no_unit():
    assert figure("mos", 4.38) == "4.38"
    assert figure("r_factor", 92.0) == "92"
    assert figure("dtmf_method", "rtp") == "rtp"
    assert figure("of_my_own", 3) == "3"


def test_a_finding_that_repeats_the_error_is_said_once():
    error = ErrorReport("FingerprintMismatch", "nothing came")
    assert words(Outcome.CALL_FAILED, error=error, diagnosis=(SILENT,)).lead == ("Nothing came.",)


def test_an_error_without_words_has_its_name():
    assert words(Outcome.OSERROR, error=ErrorReport("OSError", "")).lead == ("OSError.",)


@pytest.mark.parametrize(("phase", "said"), [(Phase.INCALL, "up"), (Phase.RINGING, "ringing")])
def test_a_call_that_runs_is_not_judged(phase, said):
    found = outcome_words(CallReport(phase=phase))
    assert (found.grade, found.headline) == ("open", f"The call is {said}")


@pytest.mark.parametrize(
    ("keying", "suite", "said"),
    [
        (Keying.NONE, None, ("bad", "Not encrypted: plain RTP")),
        (Keying.DTLS, None, ("bad", "DTLS-SRTP was negotiated, no keys were agreed")),
        (Keying.DTLS, "X", ("good", "Encrypted: DTLS-SRTP with X")),
        (Keying.SDES, "X", ("good", "Encrypted: SDES with X")),
    ],
)
def test_how_a_stream_was_protected(keying, suite, said):
    assert security_words(StreamReport(keying=keying, suite=suite)) == said
