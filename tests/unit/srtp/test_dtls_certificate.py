from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from callmeter.config import DtlsConfig, SrtpSuite
from callmeter.errors import ConfigurationError, LocalProtocolError
from callmeter.srtp.dtls_certificate import DtlsCertificate

NOW = datetime.now(UTC).replace(microsecond=0)


def pem_of(key, *, days=365):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mine")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW - timedelta(days=700))
        .not_valid_after(NOW + timedelta(days=days))
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate, certificate.public_bytes(Encoding.PEM).decode(), private.decode()


def test_a_generated_certificate_is_p256_and_lasts_thirty_days():
    certificate = DtlsCertificate.generate(NOW)
    own = certificate._certificate
    assert isinstance(own.public_key().curve, ec.SECP256R1)
    assert own.subject.rfc4514_string() == "CN=callmeter"
    assert own.not_valid_before_utc < NOW
    assert certificate.not_valid_after == NOW + timedelta(days=30)
    own.verify_directly_issued_by(own)


def test_settings_say_how_long_a_certificate_lasts_or_which_it_is():
    made = DtlsCertificate.of(DtlsConfig(certificate_days=2), NOW)
    assert made.not_valid_after == NOW + timedelta(days=2)
    certificate, *texts = pem_of(ec.generate_private_key(ec.SECP256R1()))
    taken = DtlsCertificate.of(DtlsConfig(certificate=texts[0], private_key=texts[1]), NOW)
    assert taken._certificate == certificate


def test_two_certificates_are_never_the_same():
    assert (
        DtlsCertificate.generate(NOW).fingerprint() != DtlsCertificate.generate(NOW).fingerprint()
    )


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), "rsa"])
def test_a_certificate_of_ones_own_is_taken(key):
    if key == "rsa":
        key = rsa.generate_private_key(65_537, 2_048)
    certificate, *texts = pem_of(key)
    taken = DtlsCertificate.from_pem(*texts)
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest().upper()
    assert taken.fingerprint().value.replace(":", "") == digest


def test_a_certificate_that_cannot_serve_is_refused():
    _, expired, key = pem_of(ec.generate_private_key(ec.SECP256R1()), days=-1)
    with pytest.raises(ConfigurationError, match="has expired"):
        DtlsCertificate.from_pem(expired, key)
    _, *texts = pem_of(ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(ConfigurationError, match="neither ECDSA nor RSA"):
        DtlsCertificate.from_pem(*texts)


@pytest.mark.parametrize(
    ("algorithm", "octets"), [("sha-224", 28), ("sha-256", 32), ("sha-384", 48), ("sha-512", 64)]
)
def test_fingerprints_are_made_with_all_of_sha_2(algorithm, octets):
    fingerprint = DtlsCertificate.generate(NOW).fingerprint(algorithm)
    assert fingerprint.algorithm == algorithm
    assert len(fingerprint.digest) == octets
    assert type(fingerprint).parse(str(fingerprint)) == fingerprint


@pytest.mark.parametrize("algorithm", ["sha-1", "md5", "md2"])
def test_no_fingerprint_is_made_with_a_broken_hash(algorithm):
    with pytest.raises(LocalProtocolError, match=algorithm):
        DtlsCertificate.generate(NOW).fingerprint(algorithm)


def test_the_private_key_is_not_in_the_repr():
    certificate = DtlsCertificate.generate(NOW)
    assert repr(certificate) == f"<DtlsCertificate {certificate.fingerprint()}>"


def test_suites_that_dtls_has_no_number_for_are_refused():
    certificate = DtlsCertificate.generate(NOW)
    with pytest.raises(LocalProtocolError, match="none of the SRTP suites"):
        certificate.connection([SrtpSuite.AES_256_CM_HMAC_SHA1_80], client=True, mtu=1200)


def test_handshakes_with_the_same_suites_share_a_context():
    certificate = DtlsCertificate.generate(NOW)
    suites = [SrtpSuite.AEAD_AES_128_GCM]
    one, two = (certificate.connection(suites, client=each, mtu=1200) for each in (True, False))
    other = certificate.connection([SrtpSuite.AEAD_AES_256_GCM], client=True, mtu=1200)
    assert one.get_context() is two.get_context() is not other.get_context()
