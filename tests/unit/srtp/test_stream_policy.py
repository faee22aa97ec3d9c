from __future__ import annotations

from dataclasses import replace

import pylibsrtp

from callmeter.config import SrtpSuite
from callmeter.srtp.protection_profiles import for_suite
from callmeter.srtp.stream_policy import Status, StreamPolicy

PLAIN = StreamPolicy(
    for_suite(SrtpSuite.AES_CM_128_HMAC_SHA1_80), ((bytes(30), b""),), outbound=True
)


def test_statuses_have_the_numbers_of_libsrtp():
    assert len(Status) == len(pylibsrtp.ERRORS)
    assert pylibsrtp.ERRORS[Status.AUTH_FAIL] == "authentication failure"
    assert pylibsrtp.ERRORS[Status.REPLAY_OLD] == "replay check failed (index too old)"
    assert pylibsrtp.ERRORS[Status.CANT_CHECK] == "unable to perform desired validation"
    assert pylibsrtp.ERRORS[Status.BAD_MKI] == "error MKI present in packet is invalid"


def test_only_full_protection_under_one_plain_key_is_usual():
    assert PLAIN.usual
    assert not replace(PLAIN, encrypt_rtp=False).usual
    assert not replace(PLAIN, encrypt_rtcp=False).usual
    assert not replace(PLAIN, authenticate_rtp=False).usual
    assert not replace(PLAIN, keys=((bytes(30), b"\1"),)).usual
    assert not replace(PLAIN, keys=PLAIN.keys * 2).usual


def test_keys_are_not_shown():
    shown = repr(replace(PLAIN, keys=((b"thirty octets of a master key.", b""),)))
    assert "thirty" not in shown
    assert "outbound=True" in shown
