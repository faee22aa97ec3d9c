"""Checks of offer and answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.config import SrtpPolicy
from callmeter.diagnosis import Description, KeyLine, negotiation
from callmeter.errors import (
    CallRejected,
    NoCommonCodec,
    NoCommonSuite,
    ProfileMismatch,
    SdesKeyError,
    SrtpRequired,
)
from callmeter.sdp.profiles import RtpProfile

NOT_SECURE = {"keying": "none", "suite": None}
OFFERED = {"policy": SrtpPolicy.OFFERED, **NOT_SECURE}
MISSPELT = KeyLine(1, "AES_CM_256_HMAC_SHA1_80", characters=64)
AUDIO = Description(protocol="RTP/SAVP", profile=RtpProfile.SAVP)
NOT_ANSWERED = {"answered": False, "direction": None, **NOT_SECURE}


def rejected(said):
    return CallRejected(488, said.removeprefix("488 "))


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


@pytest.mark.parametrize(
    ("here", "remedy"), [(True, "Check that the SDP answer"), (False, "Let the caller offer SRTP")]
)
def test_whose_description_has_no_keys_decides_on_the_remedy(status_of, healthy, here, remedy):
    error = SrtpRequired("there is no a=crypto line")
    found = status_of(negotiation.srtp_negotiated, healthy, error=error, offered_here=here)
    assert found[1].remedy.startswith(remedy)


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
        (healthy, {"offer": odd, "answer": odd, "misfit_here": True}, "skip", "by this end"),
        (healthy, {"offer": both, "answer": odd, "misfit_here": True}, "pass", "with a=crypto"),
    ]
    for evidence, changes, status, words in rows:
        found, finding = status_of(negotiation.profile_right, evidence, **changes)
        assert (found, words in finding.detail) == (status, True), finding


def test_a_profile_for_other_keys_is_to_be_corrected_where_it_came_from(status_of, healthy, audio):
    odd = replace(audio, protocol="UDP/TLS/RTP/SAVP", profile=RtpProfile.DTLS_SAVP)
    _, finding = status_of(negotiation.profile_right, healthy, offer=odd, answer=odd)
    assert "correct it at the peer, which brought in this profile" in finding.remedy


DUAL = Description(
    protocol="UDP/TLS/RTP/SAVP",
    profile=RtpProfile.DTLS_SAVP,
    keys=(KeyLine(1, "AES_CM_128_HMAC_SHA1_80", characters=40),),
    fingerprints=1,
)
DTLS = replace(DUAL, keys=())
GUESS = "488 Not Acceptable Here: the peer takes none of the suites offered, or no SRTP at all"
UNUSABLE = "488 No: warning 399 the offer insists on SRTP (UDP/TLS/RTP/SAVP) without a usable key"
FOREIGN = "488 Not Acceptable Here: warning 302 Incompatible transport protocol"
TO_DUAL = "an offer of UDP/TLS/RTP/SAVP with a=crypto lines and a=fingerprint"


@pytest.mark.parametrize(
    ("offer", "error", "words", "remedy"),
    [
        (DUAL, NoCommonSuite(GUESS), f"488 Not Acceptable Here, to {TO_DUAL}", "only as DTLS"),
        (DTLS, NoCommonSuite(GUESS), "RTP/SAVP with a=fingerprint", "The peer knows no DTLS-SRTP"),
        (DUAL, CallRejected(606, "Not Acceptable"), f"606 Not Acceptable, to {TO_DUAL}", "osrtp"),
        (DUAL, NoCommonSuite(FOREIGN), f"{FOREIGN}, to {TO_DUAL}", "offer SDES alone"),
        (DTLS, NoCommonSuite(UNUSABLE), UNUSABLE, "The peer knows no DTLS-SRTP"),
    ],
    ids=["dual", "DTLS", "606", "warning", "callmeter"],
)
def test_a_refused_offer_of_dtls_is_put_down_to_dtls_and_not_to_the_suites(
    status_of, healthy, offer, error, words, remedy
):
    status = getattr(error, "status", 488)
    facts = {"final_status": status, "error": error, "offer": offer, "answer": None, **NOT_ANSWERED}
    found, finding = status_of(negotiation.suites_compatible, healthy, **facts)
    assert found == "fail"
    assert words in finding.detail
    assert "none of the suites offered" not in finding.detail
    assert remedy in finding.remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"offer": replace(DUAL, protocol="RTP/AVP", profile=RtpProfile.AVP)},
        {"offer": replace(DUAL, fingerprints=0)},
        {"offer": None},
        {"offered_here": False},
    ],
    ids=["osrtp", "SDES", "no offer", "offered by the peer"],
)
def test_a_refusal_is_not_put_down_to_dtls_where_none_was_offered_by_its_profile(
    status_of, healthy, changes
):
    error = NoCommonSuite(GUESS, offered=["A"])
    facts = {"final_status": 488, "error": error, "offer": DUAL, "answer": None, **NOT_ANSWERED}
    found, finding = status_of(negotiation.suites_compatible, healthy, **facts | changes)
    assert found == "fail"
    assert finding.detail == f"{GUESS} (offered A)"
    assert finding.remedy.startswith("Check which cipher suites")


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("399 no a=crypto line of the offer can be used", "Check which cipher suites"),
        ("302 the offer insists on SRTP, and the SRTP policy is Disabled", "The peer refuses SRTP"),
    ],
)
def test_a_peer_that_says_why_it_refuses_an_offer_of_dtls_is_believed(
    status_of, healthy, said, remedy
):
    error = NoCommonSuite(f"488 Not Acceptable Here: warning {said}", offered=["A"])
    facts = {"final_status": 488, "error": error, "offer": DUAL, "answer": None, **NOT_ANSWERED}
    _, finding = status_of(negotiation.suites_compatible, healthy, **facts)
    assert said in finding.detail
    assert finding.remedy.startswith(remedy)


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


FORMAT = "488 Not Acceptable Here: warning 305 none of the codecs offered is known here: PCMA"
PROTOCOL = "488 Not Acceptable Here: warning 302 the offer has no a=crypto line"


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "pass", "PCMU"),
        (NOT_ANSWERED, "skip", "no codec was agreed on"),
        ({"error": NoCommonCodec("none of them"), **NOT_ANSWERED}, "fail", "none of them"),
        ({"error": rejected(FORMAT), "final_status": 488, **NOT_ANSWERED}, "fail", "PCMA"),
        ({"error": rejected(PROTOCOL), "final_status": 488, **NOT_ANSWERED}, "skip", "no codec"),
        ({"packets_received": 0, "dropped": {"payload_type": 10}}, "fail", "10 packets came with"),
        ({"packets_received": 0, "dropped": {"payload_type": 9}}, "pass", "PCMU"),
        ({"dropped": {"payload_type": 10}}, "pass", "PCMU"),
    ],
)
def test_whether_a_codec_is_agreed_on(status_of, healthy, changes, status, words):
    found, finding = status_of(negotiation.codec_agreed, healthy, **changes)
    assert found == status
    assert words in finding.detail


def test_suites_are_not_blamed_where_no_codec_is_common(status_of, healthy):
    changes = {"final_status": 488, "error": NoCommonCodec(FORMAT), **NOT_ANSWERED}
    assert status_of(negotiation.suites_compatible, healthy, **changes)[0] == "skip"


@pytest.mark.parametrize(
    ("said", "changes", "status"),
    [
        (PROTOCOL, {}, "fail"),
        ("488 Not Acceptable Here", {}, "warn"),
        (FORMAT, {}, "skip"),
        (PROTOCOL, {"offered_here": False}, "skip"),
        (PROTOCOL, {"final_status": 486}, "skip"),
    ],
    ids=["no keys", "nothing said", "codecs", "offered by the peer", "busy"],
)
def test_a_peer_that_refuses_an_offer_in_clear_may_want_keys(
    status_of, plain, said, changes, status
):
    facts = {"final_status": 488, "error": rejected(said), **NOT_ANSWERED, **changes}
    assert status_of(negotiation.srtp_negotiated, plain, **facts)[0] == status
