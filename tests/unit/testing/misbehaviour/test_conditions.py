"""What cannot happen is refused, and what may happen is not."""

from __future__ import annotations

import pytest

from callmeter.config import SrtpConfig, SrtpMethod, SrtpPolicy, SrtpSuite
from callmeter.errors import ConfigurationError
from callmeter.testing.misbehaviour.conditions import (
    OF_DTLS,
    OF_SDES,
    OF_SRTP,
    amount_of,
    check_conditions,
)
from callmeter.testing.misbehaviour.kinds import Misbehaviour

K = Misbehaviour
ANYWHERE = set(K) - OF_SDES - OF_DTLS - OF_SRTP
CLEAR = SrtpConfig()


def keys(method, *suites, policy=SrtpPolicy.REQUIRED):
    return SrtpConfig(method=method, policy=policy, suites=suites or tuple(SrtpSuite))


@pytest.mark.parametrize("kind", sorted(OF_SDES | OF_DTLS | OF_SRTP))
def test_what_is_about_keys_needs_some(kind):
    with pytest.raises(ConfigurationError, match=f"{kind.name} needs SRTP, and the SRTP policy is"):
        check_conditions(kind, CLEAR)


@pytest.mark.parametrize("kind", sorted(OF_SDES))
def test_what_is_about_inline_keys_does_not_happen_under_dtls_alone(kind):
    with pytest.raises(ConfigurationError, match=r"needs the SRTP method SDES or DUAL, .* is DTLS"):
        check_conditions(kind, keys(SrtpMethod.DTLS))
    check_conditions(kind, keys(SrtpMethod.SDES))


@pytest.mark.parametrize("kind", sorted(OF_DTLS))
def test_what_is_about_handshakes_does_not_happen_under_sdes_alone(kind):
    with pytest.raises(ConfigurationError, match=r"needs the SRTP method DTLS or DUAL, .* is SDES"):
        check_conditions(kind, keys(SrtpMethod.SDES))
    check_conditions(kind, keys(SrtpMethod.DTLS))


@pytest.mark.parametrize("kind", sorted(ANYWHERE))
def test_what_needs_no_keys_is_never_refused_where_media_may_be_clear(kind):
    check_conditions(kind, CLEAR)
    check_conditions(kind, keys(SrtpMethod.DTLS, policy=SrtpPolicy.OFFERED))


def test_srtp_in_place_of_clear_media_needs_clear_media():
    with pytest.raises(ConfigurationError, match="needs clear media"):
        check_conditions(K.SECURE_MEDIA, keys(SrtpMethod.SDES))


@pytest.mark.parametrize("kind", K)
def test_where_the_peer_picks_the_keys_nothing_is_known_beforehand(kind):
    check_conditions(kind, keys(SrtpMethod.DUAL, policy=SrtpPolicy.OFFERED))


@pytest.mark.parametrize(
    ("kind", "suite", "fitting"),
    [
        (K.UNPADDED_KEY, SrtpSuite.AES_CM_128_HMAC_SHA1_80, SrtpSuite.AEAD_AES_128_GCM),
        (K.MISSPELT_SUITE, SrtpSuite.AEAD_AES_256_GCM, SrtpSuite.AES_256_CM_HMAC_SHA1_80),
        (K.OTHER_TAG_LENGTH, SrtpSuite.AEAD_AES_128_GCM, SrtpSuite.AES_CM_128_HMAC_SHA1_80),
        (K.SHORT_SRTCP_TAGS, SrtpSuite.AES_CM_128_HMAC_SHA1_80, SrtpSuite.AES_CM_128_HMAC_SHA1_32),
    ],
)
def test_a_suite_that_leaves_nothing_to_do_wrong_is_refused_with_those_that_do(
    kind, suite, fitting
):
    with pytest.raises(ConfigurationError, match=f"needs a suite .*{fitting}.* are {suite}"):
        check_conditions(kind, keys(SrtpMethod.SDES, suite))
    check_conditions(kind, keys(SrtpMethod.SDES, suite, fitting))


def test_the_usual_amount_is_taken_unless_one_is_given():
    assert amount_of(K.TRUNCATED_KEY, None) == K.TRUNCATED_KEY.amount
    assert amount_of(K.TRUNCATED_KEY, 7) == 7
    assert amount_of(K.CONTENT_LENGTH, -1) == -1
    assert amount_of(K.LATE_HANDSHAKE, 0.5) == 0.5
    assert amount_of(K.DROPPED_FLIGHT, 1) == 1
    assert amount_of(K.ALTERED_KEY, None) == 0


@pytest.mark.parametrize(
    ("kind", "amount", "told"),
    [
        (K.ALTERED_KEY, 3, "ALTERED_KEY has no amount: it has one character"),
        (K.TRUNCATED_KEY, "3", "is a number, not '3'"),
        (K.TRUNCATED_KEY, True, "is a number, not True"),
        (K.TRUNCATED_KEY, float("nan"), "is a number, not nan"),
        (K.TRUNCATED_KEY, 0, "is more than 0, not 0"),
        (K.LARGE_MESSAGES, -1, "is more than 0, not -1"),
        (K.LATE_ANSWER, 0.5, "is more than 0, not 0.5"),
        (K.CONTENT_LENGTH, 0, "is other than 0"),
        (K.DROPPED_FLIGHT, 3, "is the flight 1 or 2, not 3"),
    ],
)
def test_an_amount_that_changes_nothing_is_refused(kind, amount, told):
    with pytest.raises(ConfigurationError, match=told):
        amount_of(kind, amount)
