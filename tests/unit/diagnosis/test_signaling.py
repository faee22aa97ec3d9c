"""Checks of the signalling."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.diagnosis import signaling
from callmeter.errors import ConnectionFailed, DtlsTimeout, MessageTooLarge, TlsError
from callmeter.metrics.report import TlsReport

GOOD = TlsReport(version="TLSv1.3", cipher="TLS_AES_128_GCM_SHA256", verified=True)
LAX = TlsReport(version="TLSv1.3", cipher="TLS_AES_128_GCM_SHA256", verified=False)


def refused(kind):
    return TlsError(f"TLS handshake failure: {kind}", kind=kind)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"transport": "TLS", "tls": GOOD}, "pass", "TLSv1.3"),
        ({"transport": "WSS"}, "pass", "WSS"),
        ({"transport": "UDP"}, "skip", "shows the SRTP keys"),
        ({"transport": "UDP", "keying": "none"}, "skip", "not encrypted: UDP"),
        ({"transport": "UDP", "crosses_network": True}, "warn", "UDP shows the SRTP keys"),
        ({"transport": "TCP", "crosses_network": True}, "warn", "TCP shows the SRTP keys"),
        ({"transport": "UDP", "keying": "dtls", "crosses_network": True}, "skip", "UDP"),
        ({"transport": "TLS", "tls": GOOD, "crosses_network": True}, "pass", "TLSv1.3"),
        ({"transport": ""}, "skip", "no message"),
        ({"error": refused("not_tls")}, "fail", "not_tls"),
        ({"error": refused("version")}, "fail", "version"),
        ({"error": refused("client_cert_rejected")}, "fail", "client_cert"),
        ({"error": refused("expired")}, "pass", "refused"),
        ({"error": ConnectionFailed("nobody"), "transport": "TCP"}, "skip", "TCP"),
    ],
)
def test_whether_tls_is_configured(status_of, healthy, changes, status, words):
    found, finding = status_of(signaling.tls_configured, healthy, **changes)
    assert found == status
    assert words in finding.detail


def test_keys_in_readable_sip_are_to_be_hidden_by_tls_or_dtls(status_of, healthy):
    _, finding = status_of(signaling.tls_configured, healthy, crosses_network=True)
    assert finding.remedy.startswith("Switch SIP to TLS")
    assert "or use DTLS-SRTP" in finding.remedy


def test_a_refused_client_certificate_has_its_own_remedy(status_of, healthy):
    error = refused("client_cert_rejected")
    _, finding = status_of(signaling.tls_configured, healthy, error=error)
    assert "client certificate" in finding.remedy


@pytest.mark.parametrize(
    ("changes", "status", "remedy"),
    [
        ({}, "skip", ""),
        ({"tls": GOOD}, "pass", ""),
        ({"tls": LAX}, "warn", "not recommended for production"),
        ({"tls": replace(LAX, certificate=False)}, "skip", ""),
        ({"error": refused("expired")}, "fail", "Renew the expired certificate"),
        ({"error": refused("unknown_ca")}, "fail", "to Custom"),
        ({"error": refused("name_mismatch")}, "fail", "one of the names"),
        ({"error": refused("timeout")}, "skip", ""),
    ],
)
def test_whether_the_certificate_is_verified(status_of, healthy, changes, status, remedy):
    found, finding = status_of(signaling.tls_verified, healthy, **changes)
    assert found == status
    assert remedy in finding.remedy


def test_whether_auto_fell_back(status_of, healthy):
    assert status_of(signaling.auto_fell_back, healthy)[0] == "skip"
    status, finding = status_of(signaling.auto_fell_back, healthy, fell_back="example.com")
    assert status == "warn"
    assert "example.com" in finding.detail
    assert finding.remedy == "Add DNS service records or select transport explicitly."


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"largest_datagram": 0}, "skip"),
        ({"largest_datagram": 1300}, "pass"),
        ({"largest_datagram": 1301}, "warn"),
        ({"error": MessageTooLarge("70000 octets fit no datagram")}, "fail"),
    ],
)
def test_whether_the_messages_fit_a_datagram(status_of, healthy, changes, status):
    assert status_of(signaling.message_fits_udp, healthy, **changes)[0] == status


@pytest.mark.parametrize(
    ("reason", "changes", "status"),
    [
        ("", {}, "skip"),
        ('Q.850;cause=16;text="Terminated"', {}, "pass"),
        ('SIP;cause=200;text="Call completed elsewhere"', {}, "pass"),
        ("preemption;cause=1", {}, "pass"),
        ('SIP ;cause=488 ;text="remote certificate does not match fingerprint"', {}, "warn"),
        ("Q.850 ; cause=88", {}, "warn"),
        ("SIP;cause=200, q.850;cause=47", {}, "warn"),
        ("Q.850;cause=88", {"error": DtlsTimeout("late")}, "skip"),
        ("Q.850;cause=88", {"error": ConnectionFailed("gone")}, "warn"),
    ],
)
def test_whether_the_peer_hung_up_as_usual(status_of, healthy, reason, changes, status):
    found, finding = status_of(signaling.hung_up_normally, healthy, bye_reason=reason, **changes)
    assert found == status
    if status in {"pass", "warn"}:
        assert reason in finding.detail
