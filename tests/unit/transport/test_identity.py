"""Whom a certificate names: RFC 5922 section 7, RFC 9525 section 6."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from callmeter.testing.certificates import Authority
from callmeter.transport.identity import (
    Identities,
    MatchKind,
    canonical_name,
    match_identity,
    mismatch,
    server_name,
)

AUTHORITY = Authority()
PEER = "sip.example.com"


def der(*names, common_name=None):
    issued = AUTHORITY.issue(*names, common_name=common_name)
    return x509.load_pem_x509_certificate(issued.certificate.encode()).public_bytes(Encoding.DER)


def kind(certificate, name=PEER, *, allow_common_name=False, strict_wildcards=False):
    found = match_identity(
        certificate, name, allow_common_name=allow_common_name, strict_wildcards=strict_wildcards
    )
    return None if found is None else found.kind


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([PEER], MatchKind.DNS),
        (["SIP.Example.COM"], MatchKind.DNS),
        (["sip.example.com."], MatchKind.DNS),
        (["a.example", PEER], MatchKind.DNS),
        ([f"sip:{PEER}"], MatchKind.URI),
        ([f"SIP:{PEER}"], MatchKind.URI),
        ([f"sip:{PEER}:5061"], MatchKind.URI),
        ([f"sip:{PEER};transport=tls"], MatchKind.URI),
        ([f"sip:{PEER}?x=y"], MatchKind.URI),
        ([PEER, f"sip:{PEER}"], MatchKind.URI),
        (["*.example.com"], MatchKind.DNS),
        (["*.EXAMPLE.com."], MatchKind.DNS),
        (["example.com"], None),
        (["www.sip.example.com"], None),
        (["*.com"], None),
        (["*"], None),
        (["*."], None),
        (["*.*.com"], None),
        (["s*.example.com"], None),
        (["sip.*.com"], None),
        (["sip.example.com\0.evil.example"], None),
        (["sip.example.com\0"], None),
        ([f"sips:{PEER}"], None),
        ([f"sip:alice@{PEER}"], None),
        (["sip:*.example.com"], None),
        (["sip:sip.example.com\0"], None),
        (["sip:"], None),
        (["127.0.0.1"], None),
    ],
)
def test_a_certificate_names_a_domain_or_does_not(names, expected):
    assert kind(der(*names)) is expected


def test_dns_names_do_not_count_beside_a_sip_uri():
    # RFC 5922 section 7.1: "if and only if" there is no URI identity.
    assert kind(der("sip:other.example", PEER)) is None
    assert kind(der(f"sip:alice@{PEER}", PEER)) is MatchKind.DNS


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        ("a.example.com", True),
        ("a.b.example.com", False),
        ("example.com", False),
        (".example.com", False),
        ("xn--mnchen-3ya.example.com", True),
    ],
)
def test_a_wildcard_stands_for_one_whole_label(wanted, matches):
    assert (kind(der("*.example.com"), wanted) is not None) is matches


def test_the_strict_option_takes_no_wildcard():
    assert kind(der("*.example.com"), strict_wildcards=True) is None
    assert kind(der("*.example.com", PEER), strict_wildcards=True) is MatchKind.DNS
    named = der(common_name="*.example.com")
    assert kind(named, allow_common_name=True) is MatchKind.COMMON_NAME
    assert kind(named, allow_common_name=True, strict_wildcards=True) is None


@pytest.mark.parametrize(
    ("names", "wanted", "expected"),
    [
        (["127.0.0.1"], "127.0.0.1", MatchKind.IP),
        (["::1"], "0:0:0:0:0:0:0:1", MatchKind.IP),
        (["::1"], "[::1]", MatchKind.IP),
        (["sip:[::1]:5061"], "::1", MatchKind.URI),
        (["sip:127.0.0.1"], "127.0.0.1", MatchKind.URI),
        (["127.0.0.2", "a.example"], "127.0.0.1", None),
        (["sip:a.example", "127.0.0.1"], "127.0.0.1", MatchKind.IP),
        (["sip:[::1", "::2"], "::1", None),
    ],
)
def test_an_address_is_named_as_an_address_only(names, wanted, expected):
    assert kind(der(*names), wanted) is expected


def test_a_dns_entry_or_common_name_is_never_an_address():
    assert kind(der("DNS:127.0.0.1"), "127.0.0.1") is None
    assert kind(der(common_name="127.0.0.1"), "127.0.0.1", allow_common_name=True) is None


def test_the_common_name_counts_when_allowed_and_alone_and_says_so():
    certificate = der(common_name=PEER)
    assert kind(certificate) is None
    found = match_identity(certificate, PEER, allow_common_name=True)
    assert found is not None
    assert found.warning == "the certificate names sip.example.com in its Common Name only"
    for names in (["other.example"], ["127.0.0.1"], ["sips:x.example"]):
        assert kind(der(*names, common_name=PEER), allow_common_name=True) is None


def test_a_match_that_is_as_it_should_be_has_no_warning():
    found = match_identity(der(PEER), PEER, allow_common_name=True)
    assert found is not None
    assert found.warning is None


def test_a_domain_in_unicode_is_compared_in_a_labels():
    certificate = der("xn--mnchen-3ya.example")
    assert kind(certificate, "münchen.example") is MatchKind.DNS
    assert kind(certificate, "MÜNCHEN.example.") is MatchKind.DNS


LONG_LABEL = "x" * 64 + ".example"
LONG_NAME = "a." * 127 + "b.c"


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", "a b", LONG_LABEL, LONG_NAME, "ü" * 70, "a\0b", "fe80::1%eth0"],
)
def test_what_is_no_name_matches_nothing(name):
    assert canonical_name(name) is None
    assert kind(der(PEER), name) is None
    assert server_name(name) is None


@pytest.mark.parametrize(
    ("name", "sni"),
    [
        ("SIP.example.com.", "sip.example.com"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("host_1.example", "host_1.example"),
        ("192.0.2.1", None),
        ("[2001:db8::1]", None),
    ],
)
def test_sni_is_the_domain_and_never_an_address(name, sni):
    assert server_name(name) == sni


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        (der("a.example", "sip6.example", "::1"), "a.example, sip6.example, ::1"),
        (der("sip:a.example", "b.example"), "sip:a.example"),
        (der(common_name="a.example"), "a.example (Common Name only)"),
        (der("DNS:127.0.0.1"), "127.0.0.1 (as a DNS name)"),
        (der("sips:a.example"), "no name"),
        (der("a.example\0.b"), "a.example\\x00.b"),
        (der(*[f"{n}.x" for n in range(10)]), "0.x, 1.x, 2.x, 3.x, 4.x, 5.x, 6.x, 7.x and 2 more"),
        (der("a" * 300), "a" * 253 + "..."),
    ],
)
def test_a_mismatch_is_told_in_the_words_of_the_certificate(certificate, words):
    assert mismatch(certificate, "y.example") == f"certificate is valid for {words}, not y.example"


def test_what_cannot_be_read_is_said_to_be_unreadable():
    with pytest.raises(ValueError):
        Identities.of(b"no certificate")
    text = mismatch(b"no certificate", "y\n.example")
    assert text == "certificate cannot be read, and does not name y\\x0a.example"


def test_the_sip_identities_of_a_peer_are_its_uris_or_else_its_dns_names():
    assert Identities.of(der("sip:a.example", "b.example")).sip == ("a.example",)
    assert Identities.of(der("b.example", "127.0.0.1")).sip == ("b.example",)
    assert Identities.of(der(common_name="c.example")).sip == ()


@given(st.text(max_size=80))
def test_a_canonical_name_stays_as_it_is(text):
    name = canonical_name(text)
    if name is not None:
        assert name.isascii()
        assert canonical_name(name) == name
