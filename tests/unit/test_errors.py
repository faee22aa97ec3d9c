"""Errors travel between processes with all they know."""

from __future__ import annotations

import copy
import pickle

import pytest

from callmeter import errors
from callmeter.metrics.phases import Outcome, Phase
from callmeter.metrics.report import CallReport
from callmeter.sip.message import Request

REPORT = CallReport(phase=Phase.CLOSED, outcome=Outcome.CALL_FAILED, final_status_code=486)

ERRORS = [
    errors.CallmeterError("x"),
    errors.ConfigurationError("x"),
    errors.LocalProtocolError("x"),
    errors.RemoteProtocolError("x", rfc="RFC 3261", excerpt=b"\xff"),
    errors.SipSyntaxError("x", status=505),
    errors.SdpSyntaxError("x", excerpt=b"v=1"),
    errors.RtcpSyntaxError("x"),
    errors.RtpSyntaxError("x"),
    errors.TransportError("x", destination="UDP 192.0.2.1:5060"),
    errors.ResolutionFailed("x", attempts=["A example.com: no answer"]),
    errors.ConnectionFailed("x", destination="UDP 192.0.2.1:5060"),
    errors.FlowLost("x"),
    errors.MessageTooLarge("x"),
    errors.TlsError("x", kind="expired"),
    errors.RegistrationFailed("x", status=503),
    errors.RequestRejected(405, "Method Not Allowed"),
    errors.AuthenticationFailed("x", status=401),
    errors.CallFailed("x", report=REPORT),
    errors.CallRejected(486, "Busy Here", report=REPORT, retry_after=7),
    errors.CallTimedOut("x", timer="B", report=REPORT),
    errors.CallCancelled("x"),
    errors.NegotiationError("x", report=REPORT),
    errors.NoCommonCodec("x"),
    errors.NoCommonSuite("x", offered=["A"], supported=["B"]),
    errors.SrtpRequired("x"),
    errors.ProfileMismatch("x"),
    errors.MediaSecurityError("x", evidence={"tag": 1}),
    errors.DtlsTimeout("x"),
    errors.DtlsHandshakeFailed("x"),
    errors.FingerprintMismatch("x"),
    errors.SdesKeyError("x"),
]


def test_every_public_error_is_among_the_examples():
    assert {type(error).__name__ for error in ERRORS} == set(errors.__all__)


@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling_with_its_attributes(error, again):
    copied = again(error)
    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert vars(copied) == vars(error)


def test_a_report_attached_later_travels_too():
    error = errors.AuthenticationFailed("x", status=401)
    error.report = REPORT
    assert pickle.loads(pickle.dumps(error)).report == REPORT


def test_a_half_read_message_travels_too():
    error = errors.SipSyntaxError("x", partial=Request("INVITE", "sip:a@b", [("Call-ID", "1")]))
    assert pickle.loads(pickle.dumps(error)).partial.call_id == "1"


def test_notes_travel_too():
    error = errors.ConnectionFailed("x")
    error.add_note("while registering")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["while registering"]


def test_an_excerpt_is_cut():
    assert errors.SdpSyntaxError("x", excerpt=b"a" * 1000).excerpt == b"a" * 80


def test_a_wrong_setting_is_a_value_error_as_well():
    with pytest.raises(ValueError, match="x"):
        raise errors.ConfigurationError("x")


def test_a_rejection_without_reason_phrase_reads_well():
    assert str(errors.CallRejected(486, "")) == "486"
