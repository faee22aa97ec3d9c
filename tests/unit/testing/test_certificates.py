"""The throw-away authorities make what they are asked for."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa

from callmeter.testing.certificates import SIP_DOMAIN, Authority


def first(issued):
    return x509.load_pem_x509_certificates(issued.certificate.encode())[0]


def alternatives(certificate):
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_names_become_the_alternatives_they_look_like():
    found = alternatives(
        first(Authority().issue("sip:a.example", "b.example", "::1", "*.c.d", "DNS:10.0.0.1"))
    )
    assert found.get_values_for_type(x509.UniformResourceIdentifier) == ["sip:a.example"]
    assert found.get_values_for_type(x509.DNSName) == ["b.example", "*.c.d", "10.0.0.1"]
    assert found.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("::1")]


def test_without_names_there_is_only_the_common_name():
    made = first(Authority().issue(common_name="a.example"))
    with pytest.raises(x509.ExtensionNotFound):
        alternatives(made)
    assert made.subject.rfc4514_string() == "CN=a.example"


def test_the_chain_follows_without_the_root():
    root = Authority("root")
    low = Authority("low", issuer=Authority("middle", issuer=root))
    chain = x509.load_pem_x509_certificates(low.issue("a.example").certificate.encode())
    assert [each.subject.rfc4514_string() for each in chain[1:]] == ["CN=low", "CN=middle"]
    chain[0].verify_directly_issued_by(chain[1])
    chain[2].verify_directly_issued_by(root.certificate)
    alone = low.issue("a.example", with_chain=False)
    assert alone.certificate.count("BEGIN") == 1


def test_dates_usages_and_keys_are_as_asked_for():
    made = first(
        Authority().issue(
            "a.example",
            starts=timedelta(days=-3),
            ends=timedelta(days=-2),
            usages=[SIP_DOMAIN],
            key=rsa.generate_private_key(65_537, 1_024),
        )
    )
    assert made.not_valid_after_utc < datetime.now(UTC)
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        SIP_DOMAIN
    ]
    assert made.public_key().key_size == 1_024
    plain = first(Authority().issue("a.example", usages=()))
    with pytest.raises(x509.ExtensionNotFound):
        plain.extensions.get_extension_for_class(x509.ExtendedKeyUsage)


def test_two_authorities_of_one_name_have_different_keys():
    one, two = Authority(), Authority()
    with pytest.raises(InvalidSignature):
        first(one.issue("a.example")).verify_directly_issued_by(two.certificate)
