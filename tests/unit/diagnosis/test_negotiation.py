"""Checks of offer and answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.config import SrtpPolicy
from callmeter.diagnosis import Description, KeyLine, negotiation
from callmeter.errors import NoCommonSuite, ProfileMismatch, SdesKeyError, SrtpRequired
from callmeter.sdp.profiles import RtpProfile

NOT_SECURE = {"keying": "none", "suite": None}
OFFERED = {"policy": SrtpPolicy.OFFERED, **NOT_SECURE}
MISSPELT = KeyLine(1, "AES_CM_256_HMAC_SHA1_80", characters=64)
AUDIO = Description(protocol="RTP/SAVP", profile=RtpProfile.SAVP)
NOT_ANSWERED = {"answered": False, "direction": None, **NOT_SECURE}


def no_suite(cause=None):
    error = NoCommonSuite("nothing in common", offered=["A", "B"], supported=["C"])
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "pass", "SDES, AES_CM_128_HMAC_SHA1_80"),
        ({"error": SrtpRequired("the answer has no a=crypto line")}, "fail", "no a=crypto"),
        (NOT_SECURE, "fail", "without keys"),
        (OFFERED, "skip", "not secured"),
        (NOT_ANSWERED, "skip", "no media"),
        ({"policy": SrtpPolicy.DISABLED, **NOT_SECURE}, "skip", "Disabled"),
    ],
)
def test_whether_srtp_is_negotiated(status_of, healthy, changes, status, words):
    found, finding = status_of(negotiation.srtp_negotiated, healthy, **changes)
    assert found == status
    assert words in finding.detail


def test_a_peer_that_refuses_srtp_is_not_told_to_compare_suites(status_of, healthy):
    error = NoCommonSuite("488 Not Acceptable Here: 302 the SRTP policy is Disabled", offered=["A"])
    changes = {"final_status": 488, "error": error, **NOT_ANSWERED}
    found, finding = status_of(negotiation.suites_compatible, healthy, **changes)
    assert found == "fail"
    assert finding.remedy.startswith("The peer refuses SRTP, whatever the suites: enable it there")


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        ("a=fingerprint", "The peer takes keys by DTLS alone"),
        ("a=crypto line", "The peer takes keys by SDES alone"),
        ("a=crypto line nor a=fingerprint", "The peer refuses SRTP"),
    ],
)
def test_a_peer_that_wants_the_other_kind_of_keys_is_named(status_of, healthy, missing, remedy):
    said = f"488 No: warning 302 the offer has no {missing}, and the SRTP policy is Required"
    changes = {"final_status": 488, "error": NoCommonSuite(said, offered=["A"]), **NOT_ANSWERED}
    found, finding = status_of(negotiation.suites_compatible, healthy, **changes)
    assert found == "fail"
    assert finding.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "pass", "known to both"),
        ({"error": no_suite()}, "fail", "(offered A, B; supported C)"),
        ({"error": NoCommonSuite("none")}, "fail", "none"),
        (
            {"error": no_suite(SdesKeyError("not known", evidence={"suite": "X"}))},
            "fail",
            "offered",
        ),
        ({"error": no_suite(SdesKeyError("short", evidence={"tag": 1}))}, "skip", "not compared"),
        ({"final_status": 488, **NOT_ANSWERED}, "fail", "offered AES_CM_128_HMAC_SHA1_80"),
        ({"final_status": 486, **NOT_ANSWERED}, "skip", "no suite"),
        (
            {"final_status": 488, "error": SrtpRequired("no a=crypto line"), **NOT_ANSWERED},
            "skip",
            "no key came",
        ),
        (
            {"suite": MISSPELT.misspelt, "answer": replace(AUDIO, keys=(MISSPELT,))},
            "warn",
            "the peer writes AES_CM_256_HMAC_SHA1_80 for AES_256_CM_HMAC_SHA1_80",
        ),
        ({"final_status": 488, "warnings": ("refused",), **OFFERED}, "skip", "no suite"),
        ({"final_status": 488, "policy": SrtpPolicy.DISABLED, **NOT_SECURE}, "skip", "Disabled"),
    ],
)
def test_whether_the_suites_are_compatible(status_of, healthy, changes, status, words):
    found, finding = status_of(negotiation.suites_compatible, healthy, **changes)
    assert found == status
    assert words in finding.detail


def test_whether_the_profile_is_right(status_of, healthy, audio, by_dtls):
    plain = replace(audio, protocol="RTP/AVP", profile=RtpProfile.AVP, keys=())
    odd = replace(audio, protocol="UDP/TLS/RTP/SAVP", profile=RtpProfile.DTLS_SAVP)
    mixed = Description(protocol="RTP/SAVP", profile=RtpProfile.SAVP, fingerprints=1)
    both = replace(odd, fingerprints=1)
    rows = [
        (healthy, {}, "pass", "RTP/SAVP with a=crypto"),
        (by_dtls, {}, "pass", "with a=fingerprint"),
        (healthy, {"offer": both, "answer": odd}, "pass", "with a=crypto"),
        (healthy, {"offer": plain, "answer": plain, **NOT_SECURE}, "pass", "RTP/AVP"),
        (healthy, {"offer": None}, "skip", "no offer"),
        (healthy, {"answer": None}, "skip", "no offer"),
        (healthy, {"warnings": ("given up",), "answer": plain}, "skip", "given up"),
        (healthy, {"error": ProfileMismatch("insists on SRTP")}, "fail", "insists"),
        (healthy, {"answer": plain}, "warn", "RTP/AVP to an offer of RTP/SAVP"),
        (healthy, {"offer": odd, "answer": odd}, "warn", "no a=fingerprint"),
        (by_dtls, {"offer": mixed, "answer": mixed}, "warn", "for a=crypto"),
    ]
    for evidence, changes, status, words in rows:
        found, finding = status_of(negotiation.profile_right, evidence, **changes)
        assert (found, words in finding.detail) == (status, True), finding


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "pass"),
        (NOT_SECURE, "skip"),
        ({"warnings": ("the media is not encrypted",), **OFFERED}, "warn"),
    ],
)
def test_whether_encryption_was_given_up(status_of, healthy, changes, status):
    found, finding = status_of(negotiation.srtp_fallback, healthy, **changes)
    assert found == status
    if status == "warn":
        assert finding.detail == "the media is not encrypted"
        assert "from Offered to Required" in finding.remedy
