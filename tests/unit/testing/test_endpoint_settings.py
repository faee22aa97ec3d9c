"""Settings of endpoints from keywords."""

from __future__ import annotations

from dataclasses import fields

import pytest

from callmeter.config import (
    Codec,
    Credentials,
    EndpointConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    SrtpSuite,
    Transport,
)
from callmeter.errors import ConfigurationError
from callmeter.testing.endpoint_settings import endpoint_config, media_config

AOR = "sip:alice@192.0.2.1"


def test_without_keywords_everything_has_its_default():
    assert endpoint_config(AOR) == EndpointConfig(AOR)


def test_words_stand_for_members():
    config = endpoint_config(
        AOR, Credentials("alice", "wonderland"), transport="tls", codec="pcma", ptime=40, expires=60
    )
    assert config.transport is Transport.TLS
    assert config.media.codecs == (Codec.PCMA,)
    assert (config.media.ptime, config.expires) == (40, 60)


@pytest.mark.parametrize(
    ("given", "method", "policy"),
    [
        ("sdes", SrtpMethod.SDES, SrtpPolicy.REQUIRED),
        ("DTLS", SrtpMethod.DTLS, SrtpPolicy.REQUIRED),
        (SrtpMethod.DUAL, SrtpMethod.DUAL, SrtpPolicy.REQUIRED),
        ("none", SrtpMethod.SDES, SrtpPolicy.DISABLED),
    ],
)
def test_a_method_makes_srtp_compulsory(given, method, policy):
    srtp = media_config(MediaConfig(), srtp=given).srtp
    assert (srtp.method, srtp.policy) == (method, policy)


def test_the_policy_has_the_last_word():
    srtp = media_config(MediaConfig(), srtp="dual", policy="offered").srtp
    assert srtp.policy is SrtpPolicy.OFFERED


def test_a_whole_srtp_configuration_is_taken_as_it_is():
    srtp = SrtpConfig(policy=SrtpPolicy.OFFERED, osrtp=True)
    assert media_config(MediaConfig(), srtp=srtp).srtp == srtp


def test_suites_by_name_one_or_several():
    one = media_config(MediaConfig(), srtp="sdes", suite="AEAD_AES_128_GCM")
    assert one.srtp.suites == (SrtpSuite.AEAD_AES_128_GCM,)
    two = media_config(MediaConfig(), srtp="sdes", suites=["AEAD_AES_256_GCM", "AEAD_AES_128_GCM"])
    assert two.srtp.suites == (SrtpSuite.AEAD_AES_256_GCM, SrtpSuite.AEAD_AES_128_GCM)


@pytest.mark.parametrize(
    ("profile", "feedback", "osrtp", "policy"),
    [
        ("avp", False, False, SrtpPolicy.REQUIRED),
        ("avpf", True, False, SrtpPolicy.REQUIRED),
        ("osrtp", False, True, SrtpPolicy.OFFERED),
    ],
)
def test_profiles(profile, feedback, osrtp, policy):
    media = media_config(MediaConfig(), srtp="sdes", profile=profile)
    assert (media.feedback, media.srtp.osrtp, media.srtp.policy) == (feedback, osrtp, policy)


def test_every_setting_can_be_reached():
    own = EndpointConfig(AOR)
    for item in fields(EndpointConfig):
        if item.name not in {"aor", "credentials", "media"}:
            assert endpoint_config(AOR, **{item.name: getattr(own, item.name)}) == own
    for item in fields(MediaConfig):
        assert endpoint_config(AOR, **{item.name: getattr(own.media, item.name)}) == own
    for item in fields(SrtpConfig):
        assert endpoint_config(AOR, **{item.name: getattr(own.media.srtp, item.name)}) == own


def test_a_whole_media_configuration_is_the_base():
    base = MediaConfig.webrtc_gateway()
    assert endpoint_config(AOR, media=base, ptime=40).media.ice is True


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"srpt": "sdes"}, "no setting 'srpt': did you mean 'srtp'?"),
        ({"srtp": "zrtp"}, "no srtp 'zrtp': known are DTLS, DUAL, LEGACY, SDES"),
        ({"suite": "AES_CM_128_HMAC_SHA1_81"}, "did you mean 'AES_CM_128_HMAC_SHA1_80'?"),
        ({"profile": "savp"}, "did you mean 'avp'?"),
        ({"transport": "sctp"}, "no transport 'sctp'"),
    ],
)
def test_a_word_that_does_not_exist_is_told_with_the_nearest(settings, message):
    with pytest.raises(ConfigurationError) as refused:
        endpoint_config(AOR, **settings)
    assert message in str(refused.value)
