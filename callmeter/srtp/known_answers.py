"""A test with known answers, run before a door is trusted.

Libraries differ: libsrtp 2.7 derives AES-192 session keys with the AES-256 function over a key
filled up with zeros, which no reader of RFC 6188 section 7.4 can decrypt. Such a suite is left
to `software` rather than spoken wrongly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.srtp.protection_profiles import SUPPORTED
from callmeter.srtp.stream_policy import Status, StreamPolicy

if TYPE_CHECKING:
    from callmeter.config import SrtpSuite
    from callmeter.srtp.protection_profiles import ProtectionProfile
    from callmeter.srtp.stream_policy import Door

__all__ = ["answers_as_known", "sound_suites"]

_PAYLOAD: Final = bytes([0xAB]) * 16
_RTCP: Final = bytes.fromhex("81c8000bcafebabe") + _PAYLOAD
_FULL_TAG: Final = 10

# key length and GCM or not: master key and salt, RTP header, encrypted payload with the longest
# tag, encrypted RTCP from the second word on with index 1
_ANSWERS: Final = {
    (16, False): (
        "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6",
        "800f1234decafbadcafebabe",
        "4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb",
        "7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798",
    ),
    (24, False): (
        "73edc66c4fa15776fb57f9505c17136550ffda71f3e8e5f1 c8522f3acd4ce86d5add78edbb11",
        "800f0000decafbad00000000",
        "d98865552f2762c3ef37f837acfdb7122d6bc4dc84c76f74aea5",
        "3a8b5fbd5eabc9949eec92043a9a4b58800000012fd0d52db8f8be3d1e48",
    ),
    (32, False): (
        (
            "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6 "
            "3b04803de51ee7c96423ab5b78d2"
        ),
        "800f1234decafbadcafebabe",
        "f1d9de17ff251ff1aa007774b0b4b40da08d9d9a5b3a55d8873b",
        "b4d0e7a917d24b9faab9d3b6127b3ba680000001e04ac0ec2846f71bd31c",
    ),
    (16, True): (
        "000102030405060708090a0b0c0d0e0f a0a1a2a3a4a5a6a7a8a9aaab",
        "800f1234decafbadcafebabe",
        "c5002ede04cfdd2eb91159e0880aa06ed2976826f796b201df3131a127e8a392",
        "c98b8b5df0392a55852b6c21ac8e7025c52c6fbea2b3b446ea31123ba88ce61e80000001",
    ),
    (32, True): (
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 0ec675ad498afeebb6960b3a",
        "800f1234decafbadcafebabe",
        "f95cd3f184810f99c1181897068d47edeafc395d2b489eaec398419d46096937",
        "1af422cd84b88e81637e559c88b0c80088093c73e916823fcaa427477c813be480000001",
    ),
}


def answers_as_known(door: Door, profile: ProtectionProfile) -> bool:
    """Whether a door turns reference packets into each other, both ways, and sees a replay."""
    texts = _ANSWERS[profile.key_length, profile.aead]
    key, header, payload, rest = map(bytes.fromhex, texts)
    srtp = header + payload
    if not profile.aead:
        srtp = srtp[: len(srtp) - _FULL_TAG + profile.rtp_tag_length]
    srtcp = _RTCP[:8] + rest
    keys = ((key, b""),)
    sender = door.open(StreamPolicy(profile, keys, outbound=True))
    receiver = door.open(StreamPolicy(profile, keys, outbound=False))
    if sender is None or receiver is None:
        return False
    answers = (
        sender.protect(header + _PAYLOAD),
        sender.protect_rtcp(_RTCP),
        receiver.unprotect(srtp),
        receiver.unprotect_rtcp(srtcp),
        receiver.unprotect(srtp),
    )
    sender.close()
    receiver.close()
    return answers == (
        (Status.OK, srtp),
        (Status.OK, srtcp),
        (Status.OK, header + _PAYLOAD),
        (Status.OK, _RTCP),
        (Status.REPLAY_FAIL, b""),
    )


def sound_suites(door: Door) -> frozenset[SrtpSuite]:
    """The suites a door opens and answers rightly: asked of the library, not read from a table."""
    return frozenset(row.suite for row in SUPPORTED if answers_as_known(door, row))
