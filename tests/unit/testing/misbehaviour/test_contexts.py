"""Contexts that do what was not agreed on, seen by one that does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.config import SrtpSuite
from callmeter.errors import ConfigurationError
from callmeter.rtp.header import pack_header
from callmeter.srtp import SrtpContext, for_suite, generate
from callmeter.srtp.trial import FailureCause, explain_failure
from callmeter.testing.misbehaviour.contexts import ClearRtcp, wrong_context
from callmeter.testing.misbehaviour.kinds import Misbehaviour

SSRC = 0xCAFE
REPORT = bytes.fromhex("80c90001 0000cafe")


def entropy(size):
    return bytes(range(size))


def rtp(sequence=1):
    return pack_header(0, sequence, 160 * sequence, SSRC) + bytes(160)


@pytest.fixture
def line():
    return generate(for_suite(SrtpSuite.AES_CM_128_HMAC_SHA1_80), 1, entropy)


@pytest.fixture
def receiver(line):
    return SrtpContext(line, "receive")


def wrong(kind, line):
    agreed = None if line is None else SrtpContext(line, "send")
    return wrong_context(kind, agreed, SSRC, entropy)


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (Misbehaviour.OTHER_TAG_LENGTH, FailureCause.TAG_LENGTH),
        (Misbehaviour.UNANNOUNCED_MKI, FailureCause.MKI),
        (Misbehaviour.KEPT_ROC, FailureCause.ROLLOVER),
    ],
)
def test_packets_are_wrong_in_the_way_that_was_asked_for(kind, cause, line, receiver):
    packet = wrong(kind, line).protect(rtp())
    assert receiver.unprotect(packet) is None
    assert explain_failure(packet, receiver, plain=False) is cause


def test_a_counter_is_reset_at_the_wrap_and_right_before(line, receiver):
    sender = wrong(Misbehaviour.RESET_ROC, line)
    assert sender.handle is None
    assert receiver.unprotect(sender.protect(rtp(65_534))) is not None
    assert receiver.unprotect(sender.protect(rtp(65_535))) is not None
    packet = sender.protect(rtp(0))
    assert receiver.unprotect(packet) is None
    assert explain_failure(packet, receiver, plain=False) is FailureCause.ROLLOVER
    sender.close()
    assert sender.protect(rtp(1)) is None


def test_rtcp_stays_in_clear(line):
    assert ClearRtcp(line, "send").protect_rtcp(REPORT) == REPORT


@pytest.mark.parametrize("clear", [False, True])
def test_srtcp_has_the_other_e_bit(line, clear):
    agreed = replace(line, parameters=replace(line.parameters, unencrypted_srtcp=clear))
    sender = wrong(Misbehaviour.OTHER_SRTCP_ENCRYPTION, agreed)
    receiver = SrtpContext(agreed, "receive")
    assert receiver.unprotect_rtcp(sender.protect_rtcp(REPORT)) is None
    assert receiver.encryption_mismatches == 1
    assert receiver.unprotect(sender.protect(rtp())) is not None


def test_srtcp_has_the_tag_of_rtp():
    short = generate(for_suite(SrtpSuite.AES_CM_128_HMAC_SHA1_32), 1, entropy)
    receiver = SrtpContext(short, "receive")
    sender = wrong(Misbehaviour.SHORT_SRTCP_TAGS, short)
    packet = sender.protect_rtcp(REPORT)
    assert len(packet) == len(REPORT) + 4 + 4
    assert receiver.unprotect_rtcp(packet) is None
    assert receiver.unprotect(sender.protect(rtp())) is not None


def test_media_is_plain_where_it_should_not_be_and_the_reverse(line):
    assert wrong(Misbehaviour.PLAIN_MEDIA, line) is None
    assert wrong(Misbehaviour.PLAIN_MEDIA, None) is None
    assert len(wrong(Misbehaviour.SECURE_MEDIA, None).protect(rtp())) == len(rtp()) + 10


def test_what_is_wrong_elsewhere_leaves_the_context(line):
    agreed = SrtpContext(line, "send")
    assert wrong_context(Misbehaviour.SILENT_AUDIO, agreed, SSRC, entropy) is agreed


def test_a_suite_with_one_tag_length_is_refused():
    gcm = generate(for_suite(SrtpSuite.AEAD_AES_128_GCM), 1, entropy)
    with pytest.raises(ConfigurationError, match="one tag length"):
        wrong(Misbehaviour.OTHER_TAG_LENGTH, gcm)


def test_a_counter_that_cannot_be_set_is_said_to_be(line, monkeypatch):
    monkeypatch.setattr(SrtpContext, "set_roc", lambda *_: False)
    with pytest.raises(ConfigurationError, match="cannot set a rollover counter"):
        wrong(Misbehaviour.KEPT_ROC, line)


def test_each_reset_of_a_counter_is_noted(line):
    noted = []
    sender = wrong(Misbehaviour.RESET_ROC, line)
    sender.note = lambda: noted.append(1)
    for sequence in (65_534, 65_535, 0, 1, 65_535, 0):
        sender.protect(rtp(sequence))
    assert len(noted) == 2
