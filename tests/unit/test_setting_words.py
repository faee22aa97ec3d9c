"""Words in place of the members of enumerations."""

from __future__ import annotations

import pytest

from callmeter.config import (
    ClientCertificates,
    EndpointConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    SrtpSuite,
    StackConfig,
    TlsConfig,
    TlsVerify,
    Transport,
)
from callmeter.errors import ConfigurationError
from callmeter.session_config import Extension, SessionTimerConfig, TransferPolicy
from callmeter.setting_words import member, settle, unknown


def test_a_word_means_the_member_of_that_name_in_either_case():
    assert member(SrtpMethod, "method", "dual") is SrtpMethod.DUAL
    assert member(SrtpSuite, "suite", "aead-aes-128-gcm") is SrtpSuite.AEAD_AES_128_GCM
    assert member(Transport, "transport", Transport.WSS) is Transport.WSS


@pytest.mark.parametrize(
    ("value", "hint"),
    [("dlts", "did you mean 'DTLS'?"), (7, "known are DTLS, DUAL, LEGACY, SDES")],
)
def test_a_word_that_means_none_is_told_with_what_there_is(value, hint):
    with pytest.raises(ConfigurationError) as told:
        member(SrtpMethod, "method", value)
    assert str(told.value) == f"there is no method {value!r}: {hint}"


def test_known_words_need_not_be_members():
    assert str(unknown("codec", "opsu", ["opus"])) == (
        "there is no codec 'opsu': did you mean 'opus'?"
    )


def test_every_configuration_takes_words():
    srtp = SrtpConfig(method="dtls", policy="required", suites=["AEAD_AES_128_GCM"])
    assert srtp == SrtpConfig(
        method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED, suites=(SrtpSuite.AEAD_AES_128_GCM,)
    )
    assert TlsConfig(verify="skip").verify is TlsVerify.SKIP
    assert TlsConfig(client_certificates="ignored").client_certificates is (
        ClientCertificates.IGNORED
    )
    assert StackConfig(transports=("udp", "tls")).transports == (Transport.UDP, Transport.TLS)
    assert SessionTimerConfig(mode="supported").mode is Extension.SUPPORTED
    config = EndpointConfig(
        "sip:alice@example.com",
        transport="auto",
        transfers="follow",
        reliable_provisionals="disabled",
    )
    assert (config.transport, config.transfers, config.reliable_provisionals) == (
        Transport.AUTO,
        TransferPolicy.FOLLOW,
        Extension.DISABLED,
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: SrtpConfig(method="sdse"),
        lambda: SrtpConfig(policy="must"),
        lambda: SrtpConfig(suites=("AES",)),
        lambda: TlsConfig(verify="no"),
        lambda: EndpointConfig("sip:alice@example.com", transport="sctp"),
        lambda: StackConfig(transports=("ucp",)),
    ],
)
def test_a_wrong_word_is_an_error_where_it_is_written(make):
    with pytest.raises(ConfigurationError, match="there is no"):
        make()


def test_members_stay_as_they_are():
    given = SrtpConfig()
    settle(given, method=SrtpMethod, suites=SrtpSuite)
    assert given == SrtpConfig()
