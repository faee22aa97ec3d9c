"""The contexts that the connections of one account share."""

from __future__ import annotations

import ssl
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from callmeter import certificates
from callmeter.config import ClientCertificates, TlsConfig, TlsVerify
from callmeter.errors import ConfigurationError
from callmeter.testing.certificates import Authority
from callmeter.transport import tls_settings
from callmeter.transport.tls import TlsLayer
from callmeter.transport.tls_settings import TlsSettings

AUTHORITY = Authority()
OWN = AUTHORITY.issue("sip.example")


def config(**more):
    return TlsConfig(
        **{
            "verify": TlsVerify.CUSTOM,
            "ca": AUTHORITY.pem,
            "certificate": OWN.certificate,
            "private_key": OWN.private_key,
            **more,
        }
    )


def subjects(context):
    return [each["subject"][0][0][1] for each in context.get_ca_certs()]


def test_old_versions_tickets_compression_and_renegotiation_are_off():
    made = TlsSettings.of(config())
    for context in (made.client, made.server):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.maximum_version in {
            ssl.TLSVersion.MAXIMUM_SUPPORTED,
            ssl.TLSVersion.TLSv1_3,
        }
        off = ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        assert context.options & off == off
        suites = [each["name"] for each in context.get_ciphers()]
        assert suites
        assert not [each for each in suites if "NULL" in each or each.startswith("AES")]
    assert made.server.num_tickets == 0


def test_only_the_given_authority_is_trusted():
    made = TlsSettings.of(config(certificate=None, private_key=None))
    assert subjects(made.client) == ["callmeter test authority"]
    assert made.client.verify_mode is ssl.CERT_REQUIRED
    assert not made.client.check_hostname


def test_the_systems_authorities_are_trusted_when_no_other_is_named(monkeypatch, tmp_path):
    (tmp_path / "ca.pem").write_text(Authority("of the system").pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    made = TlsSettings.of(TlsConfig())
    assert "of the system" in subjects(made.client)
    assert made.client.verify_mode is ssl.CERT_REQUIRED
    assert made.warnings == ()


def test_skipping_verification_is_warned_about():
    made = TlsSettings.of(TlsConfig(verify=TlsVerify.SKIP))
    assert made.client.verify_mode is ssl.CERT_NONE
    assert made.warnings == ("server certificates are not verified (TlsVerify.SKIP)",)


@pytest.mark.parametrize(
    ("wish", "mode"),
    [
        (ClientCertificates.IGNORED, ssl.CERT_NONE),
        (ClientCertificates.OPTIONAL, ssl.CERT_OPTIONAL),
        (ClientCertificates.REQUIRED, ssl.CERT_REQUIRED),
    ],
)
def test_a_server_asks_its_clients_as_told(wish, mode):
    context = TlsSettings.of(config(client_certificates=wish)).server
    assert context.verify_mode is mode
    asked = wish is not ClientCertificates.IGNORED
    assert subjects(context) == (["callmeter test authority"] if asked else [])


def test_a_server_needs_a_certificate():
    with pytest.raises(ConfigurationError, match="a TLS server needs a certificate"):
        _ = TlsSettings.of(TlsConfig()).server


def test_a_certificate_that_has_expired_since_is_refused(monkeypatch):
    soon = AUTHORITY.issue("sip.example", ends=timedelta(days=200))
    made = config(certificate=soon.certificate, private_key=soon.private_key)
    now = certificates._now()
    monkeypatch.setattr(certificates, "_now", lambda: now + timedelta(days=190))
    (warning,) = TlsSettings.of(made).warnings
    assert warning.startswith("certificate: certificate expires in 9 days")
    monkeypatch.setattr(certificates, "_now", lambda: now + timedelta(days=201))
    with pytest.raises(ConfigurationError, match="certificate has expired"):
        TlsSettings.of(made)


def test_the_key_is_on_disk_encrypted_private_and_not_for_long(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = []

    load = ssl.SSLContext.load_cert_chain

    def watch(self, certfile, keyfile=None, password=None):
        path = Path(certfile)
        seen.append((path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777))
        seen.append(path.read_text())
        load(self, certfile, keyfile, password)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watch)
    TlsSettings.of(config())
    assert seen[0] == (0o600, 0o700)
    assert "BEGIN ENCRYPTED PRIVATE KEY" in seen[1]
    assert OWN.private_key.splitlines()[1] not in seen[1]
    assert not list(tmp_path.iterdir())


def test_a_system_without_room_for_the_key_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(ConfigurationError, match="no place for a temporary file: No such file"):
        TlsSettings.of(config())


def test_a_pair_that_openssl_refuses_is_named(monkeypatch):
    monkeypatch.setattr(tls_settings, "CIPHERS", "@SECLEVEL=5:ALL")
    with pytest.raises(ConfigurationError, match="certificate cannot be used: ee key too small"):
        TlsSettings.of(config())


def shake_hands(made):
    client, server = TlsLayer.client(made, "sip.example"), TlsLayer.server(made)
    answer = server.receive(client.start()).outgoing
    last = server.receive(client.receive(answer).outgoing).outgoing
    if last:
        client.receive(last)
    assert client.established
    # OpenSSL forgets the session of a connection that ends without a goodbye.
    server.close()
    return client


def test_sessions_are_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr(tls_settings, "MAX_SESSIONS", 2)
    made = TlsSettings.of(config())
    made.client.maximum_version = ssl.TLSVersion.TLSv1_2
    contexts = []
    for _ in range(8):
        shake_hands(made)
        contexts.append(made.server)
    assert len(set(contexts)) > 1
    assert all(each.session_stats()["number"] <= 3 for each in contexts)


def test_no_session_is_kept_with_tls_1_3():
    made = TlsSettings.of(config())
    assert not shake_hands(made)._object.session_reused
    assert made.server.session_stats()["number"] == 0


def test_a_certificate_may_be_trusted_by_itself():
    own = AUTHORITY.issue("sip.example", with_chain=False)
    made = TlsSettings.of(
        TlsConfig(
            verify=TlsVerify.CUSTOM,
            ca=own.certificate,
            certificate=own.certificate,
            private_key=own.private_key,
        )
    )
    assert shake_hands(made).verified
