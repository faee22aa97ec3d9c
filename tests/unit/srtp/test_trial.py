"""Why packets fail: tried out on one of them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from callmeter.config import SrtpSuite
from callmeter.rtp.header import pack_header
from callmeter.srtp import SrtpContext, for_suite, generate, supported_suites
from callmeter.srtp.protection_profiles import SUPPORTED
from callmeter.srtp.sdes import CryptoLine
from callmeter.srtp.session_parameters import SessionParameters
from callmeter.srtp.trial import (
    FailureCause,
    explain_failure,
    find_rollover,
    has_short_rtcp_tag,
    is_encrypted_otherwise,
)

SSRC = 0xCAFE
COMMON = [row for row in SUPPORTED if row.suite in supported_suites()]


def line_of(suite):
    numbers = itertools.count()
    return generate(for_suite(suite), 1, lambda size: bytes([next(numbers) + 1]) * size)


def rtp(sequence):
    return pack_header(0, sequence, 160 * sequence, SSRC) + bytes(160)


@pytest.mark.parametrize("profile", [row for row in COMMON if row.other_tag_length in COMMON])
def test_a_packet_with_the_other_tag_length_is_told(profile):
    line = line_of(profile.suite)
    other = CryptoLine(1, profile.other_tag_length, line.keys)
    packet = SrtpContext(other, "send").protect(rtp(1))
    receiver = SrtpContext(line, "receive")
    assert receiver.unprotect(packet) is None
    assert explain_failure(packet, receiver, plain=False) is FailureCause.TAG_LENGTH


@pytest.mark.parametrize("profile", COMMON)
def test_a_packet_under_another_key_is_told(profile):
    packet = SrtpContext(line_of(profile.suite), "send").protect(rtp(1))
    strange = generate(profile, 1, lambda size: bytes([99]) * size)
    receiver = SrtpContext(strange, "receive")
    assert explain_failure(packet, receiver, plain=False) is FailureCause.KEY


@pytest.mark.parametrize(("ahead", "known"), [(1, 0), (0, 1), (2, 1), (0, 2), (3, 2)])
def test_a_packet_under_another_rollover_counter_is_told(ahead, known):
    line = line_of(SrtpSuite.AES_CM_128_HMAC_SHA1_80)
    receiver, in_step, sender = (
        SrtpContext(line, "receive"),
        SrtpContext(line, "send"),
        SrtpContext(line, "send"),
    )
    if not receiver.set_roc(SSRC, known):
        pytest.skip("this build of libsrtp cannot set the counter")
    in_step.set_roc(SSRC, known)
    sender.set_roc(SSRC, ahead)
    assert receiver.unprotect(in_step.protect(rtp(100))) is not None
    packet = sender.protect(rtp(101))
    assert receiver.unprotect(packet) is None
    expected = FailureCause.KEY if abs(ahead - known) > 1 and ahead else FailureCause.ROLLOVER
    assert explain_failure(packet, receiver, plain=False) is expected


def test_a_rollover_counter_that_is_reset_at_the_wrap_is_told():
    line = line_of(SrtpSuite.AES_CM_128_HMAC_SHA1_80)
    receiver, sender, reset = (
        SrtpContext(line, "receive"),
        SrtpContext(line, "send"),
        SrtpContext(line, "send"),
    )
    assert receiver.unprotect(sender.protect(rtp(65_535))) is not None
    packet = reset.protect(rtp(0))
    assert receiver.unprotect(packet) is None
    assert explain_failure(packet, receiver, plain=False) is FailureCause.ROLLOVER


@pytest.mark.parametrize("length", [1, 4, 16])
@pytest.mark.parametrize("profile", COMMON)
def test_a_packet_with_an_mki_that_was_not_announced_is_told(profile, length):
    line = line_of(profile.suite)
    key = replace(line.keys[0], mki=1, mki_length=length)
    packet = SrtpContext(replace(line, keys=(key,)), "send").protect(rtp(1))
    receiver = SrtpContext(line, "receive")
    assert receiver.unprotect(packet) is None
    assert explain_failure(packet, receiver, plain=False) is FailureCause.MKI


@pytest.mark.parametrize("profile", COMMON)
def test_a_packet_without_the_mki_that_was_announced_is_told(profile):
    line = line_of(profile.suite)
    packet = SrtpContext(line, "send").protect(rtp(1))
    key = replace(line.keys[0], mki=1, mki_length=4)
    receiver = SrtpContext(replace(line, keys=(key,)), "receive")
    assert receiver.unprotect(packet) is None
    assert explain_failure(packet, receiver, plain=False) is FailureCause.MKI


def test_what_has_the_length_of_plain_media_is_plain():
    receiver = SrtpContext(line_of(SrtpSuite.AES_CM_128_HMAC_SHA1_80), "receive")
    assert explain_failure(rtp(1), receiver, plain=True) is FailureCause.PLAIN_RTP


@pytest.mark.parametrize("agreed", [False, True])
def test_the_e_bit_is_told_from_a_forged_one(agreed):
    line = line_of(SrtpSuite.AES_CM_128_HMAC_SHA1_80)
    as_agreed, otherwise = (
        CryptoLine(1, line.profile, line.keys, SessionParameters(unencrypted_srtcp=clear))
        for clear in (agreed, not agreed)
    )
    receiver = SrtpContext(as_agreed, "receive")
    packet = SrtpContext(otherwise, "send").protect_rtcp(bytes.fromhex("80c90001 0000cafe"))
    assert receiver.unprotect_rtcp(packet) is None
    assert is_encrypted_otherwise(packet, receiver)
    assert not is_encrypted_otherwise(packet[:-1] + bytes([packet[-1] ^ 1]), receiver)


def test_counters_may_be_named_to_try():
    line = line_of(SrtpSuite.AES_CM_128_HMAC_SHA1_80)
    sender, receiver = SrtpContext(line, "send"), SrtpContext(line, "receive")
    if not sender.set_roc(SSRC, 7):
        pytest.skip("this build of libsrtp cannot set the counter")
    packet = sender.protect(rtp(1))
    assert find_rollover(packet, receiver, {6, 7}) == 7
    assert find_rollover(packet, receiver, {5, 6}) is None
    assert find_rollover(packet, receiver) is None


@pytest.mark.parametrize("profile", COMMON)
def test_a_short_tag_of_srtcp_is_told_where_there_can_be_one(profile):
    line = line_of(profile.suite)
    short = replace(line, profile=replace(profile, rtcp_tag_length=profile.rtp_tag_length))
    report = bytes.fromhex("80c90001 0000cafe")
    receiver = SrtpContext(line, "receive")
    differs = profile.rtcp_tag_length != profile.rtp_tag_length
    assert has_short_rtcp_tag(SrtpContext(short, "send").protect_rtcp(report), receiver) is differs
    assert not has_short_rtcp_tag(SrtpContext(line, "send").protect_rtcp(report), receiver)
