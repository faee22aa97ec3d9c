"""Certificates that cannot work are refused when they are given, in words that help."""

from __future__ import annotations

import warnings
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from callmeter.certificates import (
    CertificateWarning,
    check_authorities,
    check_own_certificate,
    load_certificates,
    load_private_key,
)
from callmeter.config import TlsConfig, TlsVerify
from callmeter.errors import ConfigurationError
from callmeter.testing.certificates import Authority

DAY = timedelta(days=1)
ROOT = Authority()
MIDDLE = Authority("middle", issuer=ROOT)
OWN = MIDDLE.issue("sip.example")
OTHER = Authority("other").issue("sip.example")
BROKEN = "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n"


def key_pem(key, encryption=None):
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()
    ).decode()


def test_a_certificate_with_its_chain_and_key_is_accepted_in_silence():
    assert check_own_certificate(OWN.certificate, OWN.private_key, ROOT.pem) == ()
    assert check_own_certificate(OWN.certificate, OWN.private_key) == ()


def test_comments_around_a_certificate_do_no_harm():
    assert len(load_certificates(f"Größe: klein\n{ROOT.pem}\nmore\n{MIDDLE.pem}", "ca")) == 2


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        ("", "ca holds no PEM certificate: give the content of the file, not its path"),
        ("/etc/ssl/ca.pem", "ca holds no PEM certificate"),
        (BROKEN, "ca holds a certificate that cannot be parsed"),
        (ROOT.pem[:200], "ca holds a certificate that cannot be parsed"),
        (OWN.certificate + OWN.private_key, "ca holds a private key"),
        ("x" * (4 * 1024 * 1024 + 1), "ca is longer than"),
    ],
)
def test_what_is_no_certificate_is_refused_by_name(pem, words):
    with pytest.raises(ConfigurationError, match=f"^{words}"):
        load_certificates(pem, "ca")


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        ("", "private_key holds no PEM private key"),
        (OWN.certificate, "private_key holds a certificate, and no key"),
        (
            "-----BEGIN PRIVATE KEY-----\nbm90aGluZw==\n-----END PRIVATE KEY-----\n",
            "private_key cannot be parsed",
        ),
        (
            key_pem(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"s3cret")),
            "private_key is encrypted and there is no password: give it decrypted",
        ),
        (
            key_pem(rsa.generate_private_key(65_537, 1_024)),
            "private_key is an RSA key of 1024 bits: 2048 are the least",
        ),
        (key_pem(dsa.generate_private_key(2_048)), "private_key is of a kind that TLS does not"),
    ],
)
def test_what_is_no_usable_key_is_refused_and_not_quoted(pem, words):
    with pytest.raises(ConfigurationError, match=f"^{words}") as caught:
        load_private_key(pem, "private_key")
    assert "bm90" not in str(caught.value)


def test_an_edwards_curve_key_is_usable():
    key = ed25519.Ed25519PrivateKey.generate()
    assert isinstance(load_private_key(key_pem(key), "private_key"), ed25519.Ed25519PrivateKey)


def test_an_expired_certificate_is_refused():
    late = ROOT.issue("sip.example", ends=-DAY)
    with pytest.raises(ConfigurationError, match=r"^certificate: certificate has expired \(valid"):
        check_own_certificate(late.certificate, late.private_key)


def test_a_chain_with_an_expired_issuer_is_refused():
    late = Authority("late", issuer=ROOT, ends=-DAY).issue("sip.example")
    with pytest.raises(ConfigurationError, match=r"^certificate: its issuer has expired"):
        check_own_certificate(late.certificate, late.private_key, ROOT.pem)


@pytest.mark.parametrize(("days", "warned"), [(29, True), (31, False)])
def test_a_certificate_that_expires_within_thirty_days_is_warned_about(days, warned):
    soon = ROOT.issue("sip.example", ends=timedelta(days=days, hours=1))
    found = check_own_certificate(soon.certificate, soon.private_key)
    assert [f"expires in {days} days" in each for each in found] == ([True] if warned else [])


def test_an_issuer_that_expires_first_is_warned_about():
    soon = Authority("soon", issuer=ROOT, ends=5 * DAY).issue("sip.example")
    (found,) = check_own_certificate(soon.certificate, soon.private_key)
    assert found.startswith("certificate: certificate expires in 4 days")


def test_a_certificate_of_the_future_is_warned_about():
    early = ROOT.issue("sip.example", starts=DAY)
    (found,) = check_own_certificate(early.certificate, early.private_key)
    assert found.startswith("certificate is not yet valid (from ")


def test_a_key_of_another_certificate_is_refused():
    with pytest.raises(ConfigurationError, match=r"^private_key does not match certificate$"):
        check_own_certificate(OWN.certificate, OTHER.private_key)


def test_a_chain_whose_own_certificate_is_not_first_is_refused():
    leaf = MIDDLE.issue("sip.example", with_chain=False)
    with pytest.raises(ConfigurationError, match="wrong order: the certificate of private_key"):
        check_own_certificate(MIDDLE.pem + leaf.certificate, leaf.private_key)


def test_a_chain_whose_issuers_do_not_follow_each_other_is_refused():
    low = Authority("low", issuer=MIDDLE)
    leaf = low.issue("sip.example", with_chain=False)
    with pytest.raises(ConfigurationError, match="wrong order: each certificate is followed"):
        check_own_certificate(leaf.certificate + MIDDLE.pem + low.pem, leaf.private_key)
    assert not check_own_certificate(leaf.certificate + low.pem + MIDDLE.pem, leaf.private_key)


def test_a_chain_without_end_is_refused():
    with pytest.raises(ConfigurationError, match="more than 16 certificates"):
        check_own_certificate(OWN.certificate + MIDDLE.pem * 16, OWN.private_key)


@pytest.mark.parametrize("ca", [ROOT.pem, MIDDLE.pem, Authority("x").pem + ROOT.pem])
def test_a_certificate_chains_to_any_of_the_given_authorities(ca):
    assert check_own_certificate(OWN.certificate, OWN.private_key, ca) == ()


def test_a_certificate_may_be_given_as_its_own_authority():
    own = key_pem(ROOT.key)
    assert check_own_certificate(ROOT.pem, own, ROOT.pem) == ()


def test_a_certificate_of_another_authority_is_refused():
    with pytest.raises(ConfigurationError, match=r"^certificate does not chain to ca: add the"):
        check_own_certificate(OTHER.certificate, OTHER.private_key, ROOT.pem)


def test_authorities_are_refused_only_when_all_have_expired():
    late, soon = Authority("late", ends=-DAY), Authority("soon", ends=3 * DAY)
    with pytest.raises(ConfigurationError, match=r"^ca: certificate has expired"):
        check_authorities(late.pem)
    assert check_authorities(late.pem + ROOT.pem) == ()
    (found,) = check_authorities(late.pem + soon.pem)
    assert found.startswith("ca: certificate expires in 2 days")


def test_a_configuration_warns_about_what_expires_soon_where_it_is_written():
    soon = ROOT.issue("sip.example", ends=10 * DAY)
    with pytest.warns(CertificateWarning, match="expires in 9 days") as caught:
        TlsConfig(certificate=soon.certificate, private_key=soon.private_key)
    assert caught[0].filename == __file__


def test_a_configuration_checks_what_it_is_given():
    with pytest.raises(ConfigurationError, match="does not chain"):
        TlsConfig(
            verify=TlsVerify.CUSTOM,
            ca=ROOT.pem,
            certificate=OTHER.certificate,
            private_key=OTHER.private_key,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TlsConfig(verify=TlsVerify.CUSTOM, ca=ROOT.pem)
