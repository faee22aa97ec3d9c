"""Settings of media encryption."""

from __future__ import annotations

from datetime import timedelta

import pytest

from callmeter.certificates import CertificateWarning
from callmeter.errors import ConfigurationError
from callmeter.srtp_config import DtlsConfig, SrtpMethod
from callmeter.testing.certificates import Authority

OWN = Authority().issue("alice.example.com")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DtlsConfig(certificate="PEM"), "go together"),
        (lambda: DtlsConfig(private_key="PEM"), "go together"),
        (lambda: DtlsConfig(certificate="PEM", private_key="PEM"), "certificate"),
        (lambda: DtlsConfig(certificate_days=0), "certificate_days"),
        (lambda: DtlsConfig(certificate_days=5000), "certificate_days"),
        (lambda: DtlsConfig(handshake_timeout=0), "handshake_timeout"),
        (lambda: DtlsConfig(handshake_timeout=500), "handshake_timeout"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_a_certificate_of_ones_own_is_taken_and_its_key_not_shown():
    config = DtlsConfig(certificate=OWN.certificate, private_key=OWN.private_key)
    assert OWN.private_key not in repr(config)


def test_a_certificate_about_to_expire_is_warned_of():
    soon = Authority().issue("alice.example.com", ends=timedelta(days=3))
    with pytest.warns(CertificateWarning):
        DtlsConfig(certificate=soon.certificate, private_key=soon.private_key)


@pytest.mark.parametrize(
    ("method", "sdes", "dtls"),
    [
        (SrtpMethod.LEGACY, True, False),
        (SrtpMethod.SDES, True, False),
        (SrtpMethod.DTLS, False, True),
        (SrtpMethod.DUAL, True, True),
    ],
)
def test_the_method_says_what_is_offered(method, sdes, dtls):
    assert (method.offers_sdes, method.offers_dtls) == (sdes, dtls)
