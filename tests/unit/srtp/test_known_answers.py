from __future__ import annotations

import pytest

from callmeter.config import SrtpSuite
from callmeter.srtp import libsrtp
from callmeter.srtp.known_answers import answers_as_known, sound_suites
from callmeter.srtp.protection_profiles import for_suite
from callmeter.srtp.stream_policy import Status

CM_80 = for_suite(SrtpSuite.AES_CM_128_HMAC_SHA1_80)


class Altered:
    """A door whose sessions give one wrong answer."""

    def __init__(self, method, answer):
        self._method = method
        self._answer = answer

    def open(self, policy):
        session = libsrtp.DOOR.open(policy)
        altered = type("Session", (), {})()
        for name in ("protect", "unprotect", "protect_rtcp", "unprotect_rtcp", "close"):
            setattr(altered, name, getattr(session, name))
        setattr(altered, self._method, lambda packet: self._answer)
        return altered


def test_the_library_in_use_answers_as_known_for_the_suites_everyone_has():
    assert sound_suites(libsrtp.DOOR) >= {
        SrtpSuite.AES_CM_128_HMAC_SHA1_80,
        SrtpSuite.AES_CM_128_HMAC_SHA1_32,
        SrtpSuite.AEAD_AES_128_GCM,
        SrtpSuite.AEAD_AES_256_GCM,
    }


@pytest.mark.parametrize("method", ["protect", "unprotect", "protect_rtcp", "unprotect_rtcp"])
@pytest.mark.parametrize("answer", [(Status.OK, b"other"), (Status.AUTH_FAIL, b"")])
def test_one_wrong_answer_is_noticed(method, answer):
    assert not answers_as_known(Altered(method, answer), CM_80)


@pytest.mark.parametrize("direction", [True, False])
def test_a_session_that_cannot_be_opened_is_a_wrong_answer(direction):
    class Shut:
        def open(self, policy):
            return None if policy.outbound is direction else libsrtp.DOOR.open(policy)

    assert not answers_as_known(Shut(), CM_80)
