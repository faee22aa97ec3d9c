"""The end of a call as an error and an outcome."""

from __future__ import annotations

import pytest

from callmeter.call_failures import loss, reason_of, rejection
from callmeter.config import SrtpConfig, SrtpPolicy
from callmeter.errors import (
    CallRejected,
    CallTimedOut,
    FingerprintMismatch,
    NoCommonCodec,
    NoCommonSuite,
    SrtpRequired,
)
from callmeter.metrics.phases import Outcome
from callmeter.sip.message import Response


def response(status, *headers):
    return Response(status, "Reason", headers)


@pytest.mark.parametrize(
    ("cause", "timer", "outcome", "words"),
    [
        ("ack-timeout", "H", Outcome.TIMEOUT, "never acknowledged"),
        ("prack-timeout", "PRACK", Outcome.TIMEOUT, "provisional response"),
        ("session-expired", "Session-Expires", Outcome.CALL_FAILED, "nobody refreshed it"),
        ("dialog-lost", "F", Outcome.CALL_FAILED, "dialog-lost"),
    ],
)
def test_each_way_to_lose_a_call_has_its_words(cause, timer, outcome, words):
    error, settled = loss(cause)
    assert (error.timer, settled) == (timer, outcome)
    assert words in str(error)


@pytest.mark.parametrize(
    ("status", "header", "text"),
    [
        (420, ("Unsupported", "timer"), "420 Reason: the peer does not support timer"),
        (421, ("Require", "100rel, timer"), "421 Reason: the peer insists on 100rel, timer"),
        (422, ("Min-SE", "600;x=1"), "422 Reason: the peer takes no session interval below 600 s"),
        (486, ("Unsupported", "timer"), "486 Reason"),
        (
            488,
            ("Warning", '302 x "the policy asks for keys"'),
            "488 Reason: warning 302 the policy asks for keys",
        ),
    ],
)
def test_a_refusal_over_an_extension_says_which(status, header, text):
    error = rejection(status, "Reason", response(status, header), SrtpConfig())
    assert isinstance(error, CallRejected)
    assert str(error) == text


def test_a_refusal_that_says_nothing_more_is_its_status_and_reason():
    assert str(rejection(420, "Bad Extension", response(420), SrtpConfig())) == "420 Bad Extension"
    assert str(rejection(422, "Too Small", None, SrtpConfig())) == "422 Too Small"


def test_the_time_to_wait_is_kept():
    error = rejection(503, "Reason", response(503, ("Retry-After", "7")), SrtpConfig())
    assert isinstance(error, CallRejected)
    assert error.retry_after == 7


@pytest.mark.parametrize("policy", [SrtpPolicy.DISABLED, SrtpPolicy.REQUIRED])
def test_488_with_a_warning_of_the_formats_is_about_the_codecs(policy):
    refused = response(488, ("Warning", '305 pbx "Incompatible media format"'))
    error = rejection(488, "Not Acceptable Here", refused, SrtpConfig(policy=policy))
    assert isinstance(error, NoCommonCodec)
    assert str(error) == "488 Not Acceptable Here: warning 305 Incompatible media format"


def test_488_with_another_warning_tells_it():
    refused = response(488, ("Warning", '399 pbx "not now"'))
    error = rejection(488, "Not Acceptable Here", refused, SrtpConfig())
    assert isinstance(error, CallRejected)
    assert str(error) == "488 Not Acceptable Here: warning 399 not now"


def test_488_to_an_offer_of_srtp_is_about_its_suites():
    srtp = SrtpConfig(policy=SrtpPolicy.REQUIRED)
    error = rejection(488, "Not Acceptable Here", None, srtp)
    assert isinstance(error, NoCommonSuite)
    assert error.offered == srtp.suites


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FingerprintMismatch("it does not match"), "it does not match"),
        (SrtpRequired('no "keys"\r\nand \u00fcber \\'), "no 'keys' and ?ber "),
    ],
)
def test_a_bye_says_what_is_wrong_with_the_media(error, text):
    assert reason_of(error) == [("Reason", f'SIP;cause=488;text="{text.rstrip()}"')]


@pytest.mark.parametrize("error", [None, CallTimedOut("gone", timer="F")])
def test_a_bye_gives_no_reason_for_anything_else(error):
    assert reason_of(error) == []
