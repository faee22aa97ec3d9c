"""Checks of what goes with a key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.diagnosis import session_keys
from callmeter.srtp.trial import FailureCause


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "pass"),
        ({"keying": "none"}, "skip"),
        ({"failure": FailureCause.MKI, "undecryptable": 20}, "fail"),
        ({"failure": FailureCause.KEY, "undecryptable": 20}, "skip"),
    ],
)
def test_whether_packets_carry_the_agreed_mki(status_of, healthy, changes, status):
    assert status_of(session_keys.mki_agreed, healthy, **changes)[0] == status


@pytest.mark.parametrize(
    ("lifetime", "changes", "status"),
    [
        (None, {}, "skip"),
        (100, {}, "warn"),
        (1 << 20, {}, "pass"),
        (100, {"keying": "dtls"}, "skip"),
        (100, {"answer": None}, "skip"),
        (100, {"suite": "AEAD_AES_128_GCM"}, "skip"),
    ],
)
def test_whether_a_key_is_renewed_in_time(status_of, healthy, audio, lifetime, changes, status):
    line = replace(audio.keys[0], lifetime=lifetime)
    answer = {"answer": replace(audio, keys=(line,))}
    found, finding = status_of(session_keys.lifetime_kept, healthy, **{**answer, **changes})
    assert found == status
    assert (
        status != "warn" or "150 packets came under a key whose lifetime is 100" in finding.detail
    )


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "pass", "no media came before"),
        ({"keying": "none"}, "skip", "not encrypted"),
        ({"dropped": {"early": 30}}, "warn", "30 packets came long before"),
        ({"keying": "dtls"}, "pass", "no media came before"),
        ({"keying": "dtls", "keyed_after": 0.05}, "pass", "0.05 s after the answer"),
        ({"keying": "dtls", "keyed_after": 2.6}, "warn", "2.6 s after the answer"),
        ({"keyed_after": 2.6}, "pass", "no media came before"),
    ],
)
def test_whether_the_keys_came_before_the_media(status_of, healthy, changes, status, words):
    found, finding = status_of(session_keys.keys_in_time, healthy, **changes)
    assert found == status
    assert words in finding.detail
