"""Checks of the keys and of what was made with them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.diagnosis import KeyLine, keys
from callmeter.errors import (
    DtlsHandshakeFailed,
    DtlsTimeout,
    FingerprintMismatch,
    NoCommonSuite,
    SdesKeyError,
)
from callmeter.srtp.trial import FailureCause

PLAIN = {"keying": "none", "suite": None}
NOTHING = {"packets_received": 0, "rtcp_received": 0}
SHORT = SdesKeyError("the inline key is 20 octets long, the suite needs 30", evidence={"tag": 1})
TIMEOUT = DtlsTimeout(
    "no DTLS handshake within 30 s",
    evidence={"port_datagrams_sent": 9, "port_datagrams_received": 0},
)


def timeout(**seen):
    return DtlsTimeout("no DTLS handshake within 30 s", evidence={**TIMEOUT.evidence, **seen})


BOTH_ACTIVE = timeout(role="client", last_flight_received="ClientHello")
# It came before the answer that says "passive", and was answered.
OVERTAKING = timeout(
    role="client",
    last_flight_received="Certificate, ClientKeyExchange, CertificateVerify, Finished",
)
MISMATCH = FingerprintMismatch("remote certificate does not match fingerprint")


def failing(cause):
    return {"failure": cause, "undecryptable": 77, "dropped": {"authentication": 77}}


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "skip", "no DTLS"),
        ({"keying": "dtls"}, "pass", "reached"),
        ({"error": MISMATCH}, "pass", "reached"),
        ({"error": TIMEOUT}, "fail", "(9 datagrams sent, 0 received)"),
        ({"error": DtlsHandshakeFailed("no profile in common")}, "fail", "no profile"),
        ({"error": timeout(role="server")}, "fail", "its ClientHello never came"),
        (
            {"error": timeout(last_flight_received="ServerHelloDone")},
            "fail",
            "0 received, the last one ServerHelloDone",
        ),
        ({"error": BOTH_ACTIVE}, "pass", "the ClientHello of the peer arrived"),
        ({"error": OVERTAKING}, "pass", "the ClientHello of the peer arrived"),
    ],
)
def test_whether_dtls_is_reachable(status_of, healthy, changes, status, words):
    found, finding = status_of(keys.dtls_reachable, healthy, **changes)
    assert found == status
    assert words in finding.detail


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "skip"),
        ({"keying": "dtls"}, "pass"),
        ({"error": TIMEOUT}, "skip"),
        ({"error": timeout(role="server", last_flight_received="ClientHello")}, "skip"),
        ({"error": timeout(role="client", last_flight_received="ServerHello")}, "skip"),
        ({"error": BOTH_ACTIVE}, "fail"),
        ({"error": OVERTAKING}, "fail"),
    ],
)
def test_whether_the_dtls_roles_fit(status_of, healthy, changes, status):
    assert status_of(keys.dtls_roles, healthy, **changes)[0] == status


@pytest.mark.parametrize(
    ("changes", "status"),
    [({}, "skip"), ({"keying": "dtls"}, "pass"), ({"error": MISMATCH}, "fail")],
)
def test_whether_the_fingerprint_is_valid(status_of, healthy, changes, status):
    assert status_of(keys.fingerprint_valid, healthy, **changes)[0] == status


def test_a_mismatch_names_the_fingerprints_of_the_description_and_of_the_certificate(
    status_of, healthy
):
    seen = {"expected": ["sha-256 AA:BB"], "received": ["sha-256 CC:DD"]}
    error = FingerprintMismatch("remote certificate does not match fingerprint", evidence=seen)
    _, finding = status_of(keys.fingerprint_valid, healthy, error=error)
    assert finding.detail == (
        "remote certificate does not match fingerprint "
        "(the SDP says sha-256 AA:BB; the certificate has sha-256 CC:DD)"
    )


@pytest.mark.parametrize(
    ("each", "cause", "words"),
    [
        (keys.tag_length, FailureCause.TAG_LENGTH, "other tag length: 77"),
        (keys.key_intact, FailureCause.KEY, "77 packets fail"),
        (keys.plain_for_secure, FailureCause.PLAIN_RTP, "sends plain RTP: 77"),
        (keys.roc_consistent, FailureCause.ROLLOVER, "77 packets were refused"),
    ],
)
def test_each_cause_fails_its_own_check(status_of, healthy, each, cause, words):
    status, finding = status_of(each, healthy, **failing(cause))
    assert status == "fail"
    assert words in finding.detail
    assert status_of(each, healthy)[0] == "pass"
    assert status_of(each, healthy, **PLAIN)[0] == "skip"
    assert status_of(each, healthy, **NOTHING)[0] == "skip"
    for other in set(FailureCause) - {cause}:
        assert status_of(each, healthy, **failing(other))[0] == "skip"


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"error": SHORT}, "fail", "20 octets"),
        ({"error": SHORT, "content_length": (300, 290)}, "fail", "says 300"),
        ({"error": SdesKeyError("unknown suite")}, "pass", "authentic"),
        ({"error": NoCommonSuite("no line")}, "pass", "authentic"),
        ({"content_length": (290, 300)}, "warn", "290"),
        ({"content_length": (290, 300), **NOTHING}, "fail", "has 300 octets"),
        ({"content_length": (290, 300), **failing(FailureCause.KEY)}, "fail", "there were 300"),
    ],
)
def test_whether_the_key_is_intact(status_of, healthy, changes, status, words):
    found, finding = status_of(keys.key_intact, healthy, **changes)
    assert found == status
    assert words in finding.detail


def test_a_damaged_line_beside_a_good_one_is_named_when_the_peer_wrote_it(
    status_of, healthy, audio
):
    damaged = replace(
        audio, keys=(*audio.keys, KeyLine(2, "AES_CM_128_HMAC_SHA1_32", characters=39))
    )
    status, finding = status_of(keys.key_intact, healthy, answer=damaged)
    assert status == "warn"
    assert finding.detail == (
        "the key of line 2 has 39 characters, AES_CM_128_HMAC_SHA1_32 needs 40"
    )
    assert status_of(keys.key_intact, healthy, offer=damaged)[0] == "pass"
    by_peer = {"offer": damaged, "offered_here": False}
    assert status_of(keys.key_intact, healthy, **by_peer)[0] == "warn"
    assert status_of(keys.key_intact, healthy, answer=None)[0] == "pass"


def test_another_key_after_a_handshake_is_no_matter_of_the_signalling(status_of, by_dtls):
    status, finding = status_of(keys.key_intact, by_dtls, **failing(FailureCause.KEY))
    assert status == "fail"
    assert "same encryption method" in finding.remedy


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "pass"),
        ({"keying": "sdes"}, "skip"),
        ({"packets_received": 0}, "skip"),
        ({"codec": "opus"}, "skip"),
        ({"payload_octets": 164}, "fail"),
        ({"payload_octets": 170}, "fail"),
        ({"payload_octets": 250}, "fail"),
        ({"payload_octets": 176}, "fail"),
        ({"payload_octets": 240}, "pass"),
        ({"payload_octets": 80}, "pass"),
    ],
)
def test_whether_srtp_arrives_where_plain_rtp_was_agreed(status_of, plain, changes, status):
    assert status_of(keys.secure_for_plain, plain, **changes)[0] == status


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "pass", "2 SRTCP"),
        (PLAIN, "skip", "not encrypted"),
        ({"rtcp_received": 0}, "skip", "no RTCP"),
        ({"rtcp_in_clear": 3}, "fail", "3 RTCP packets came in clear"),
        ({"rtcp_mismatches": 4}, "fail", "E bit"),
        ({"rtcp_in_clear": 3, **failing(FailureCause.PLAIN_RTP)}, "skip", "no SRTP"),
    ],
)
def test_whether_rtcp_is_encrypted_alike(status_of, healthy, changes, status, words):
    found, finding = status_of(keys.srtcp_consistent, healthy, **changes)
    assert found == status
    assert words in finding.detail


def test_a_line_that_leaves_rtcp_in_clear_on_one_side_alone_is_named(status_of, healthy, audio):
    clear = replace(audio, keys=(replace(audio.keys[0], parameters=("UNENCRYPTED_SRTCP",)),))
    both = replace(audio, keys=(*audio.keys, *clear.keys))
    rows = [(clear, audio), (audio, clear)], [(clear, clear), (both, clear), (None, clear)]
    for status, pairs in zip(("warn", "pass"), rows, strict=True):
        for offer, answer in pairs:
            changes = {"offer": offer, "answer": answer}
            assert status_of(keys.srtcp_consistent, healthy, **changes)[0] == status


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "skip"),
        ({"old_key_packets": 5}, "pass"),
        ({"old_key_packets": 5, "unfollowed": 5}, "pass"),
        ({"old_key_packets": 25, "unfollowed": 25}, "fail"),
        ({"old_key_packets": 5, "unfollowed": 5, **failing(FailureCause.KEY)}, "fail"),
    ],
)
def test_whether_a_rekey_is_followed(status_of, healthy, changes, status):
    assert status_of(keys.rekey_followed, healthy, **changes)[0] == status


def test_a_key_without_padding_is_accepted_and_said_to_be(status_of, healthy, audio):
    bare = KeyLine(1, "AEAD_AES_128_GCM", characters=38)
    found, finding = status_of(
        keys.key_intact, healthy, suite="AEAD_AES_128_GCM", answer=replace(audio, keys=(bare,))
    )
    assert found == "pass"
    assert "line 1 came without its padding" in finding.detail


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "from UDP to TLS"),
        ({"transport": "TLS"}, "Nobody on this hop"),
        ({"keying": "dtls"}, "same encryption method"),
    ],
)
def test_the_remedy_for_another_key_is_no_tls_where_there_is_tls(
    status_of, healthy, changes, words
):
    _, finding = status_of(
        keys.key_intact, healthy, **NOTHING, **failing(FailureCause.KEY), **changes
    )
    assert words in finding.remedy


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"roc_resets": 2}, "fail", "changed 2 times under a key that stayed"),
        ({"roc_kept": 1}, "pass", "went on, and is followed"),
    ],
)
def test_a_rollover_counter_that_is_followed_is_told_all_the_same(
    status_of, healthy, changes, status, words
):
    found, finding = status_of(keys.roc_consistent, healthy, **changes)
    assert found == status
    assert words in finding.detail


def test_short_tags_of_srtcp_are_told(status_of, healthy):
    found, finding = status_of(keys.srtcp_consistent, healthy, rtcp_short_tags=2)
    assert found == "warn"
    assert "2 SRTCP packets have a tag of 32 bits" in finding.detail
    assert "same tag" in finding.remedy
