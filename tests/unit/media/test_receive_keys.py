"""Which key opens a packet, around a rekey and when the peer counts rollovers its own way."""

from __future__ import annotations

import itertools

import pytest

from callmeter.config import SrtpSuite
from callmeter.media.receive_keys import CARRIED_TRIALS, HELD_MAX, ReceiveKeys
from callmeter.rtp.header import pack_header
from callmeter.srtp import SrtpContext, for_suite, generate
from callmeter.srtp.libsrtp import DOOR
from callmeter.srtp.stream_policy import Status

SSRC = 0xCAFE
SOURCE = ("192.0.2.1", 4000)
PROFILE = for_suite(SrtpSuite.AES_CM_128_HMAC_SHA1_80)

numbers = itertools.count(1)


def new_line():
    number = next(numbers) % 200 + 1
    return generate(PROFILE, 1, lambda size: bytes([number]) * size)


def rtp(sequence):
    return pack_header(0, sequence & 0xFFFF, 160 * sequence, SSRC) + bytes(160)


@pytest.fixture
def keys():
    made = ReceiveKeys()
    yield made
    made.close()


@pytest.fixture
def rekeyed(keys):
    """Keys after a rekey, with the peer's senders: the old one and the new one."""
    old, new = new_line(), new_line()
    before = SrtpContext(old, "send")
    keys.change(SrtpContext(old, "receive"), SSRC, 0.0)
    assert keys.unprotect(before.protect(rtp(1))) is not None
    keys.change(SrtpContext(new, "receive"), SSRC, 10.0)
    return keys, before, SrtpContext(new, "send")


def needs_counters():
    if not DOOR.whole:
        pytest.skip("this build of libsrtp cannot set the counter")


def test_a_plain_stream_has_no_key(keys):
    assert keys.unprotect(rtp(1)) is None
    assert keys.follow_rollover(rtp(1)) is None
    assert keys.settled
    assert keys.next_deadline() is None


def test_the_old_key_serves_until_the_first_packet_under_the_new_one(rekeyed):
    keys, before, after = rekeyed
    assert keys.unprotect(before.protect(rtp(2))) is not None
    assert (keys.old_key_packets, keys.unfollowed, keys.settled) == (1, 1, False)
    assert keys.unprotect(after.protect(rtp(3))) is not None
    assert (keys.old_key_packets, keys.unfollowed, keys.settled) == (1, 0, True)
    assert keys.unprotect(before.protect(rtp(4))) is None
    assert keys.status is Status.AUTH_FAIL


def report(source=SSRC):
    """An empty receiver report."""
    return bytes.fromhex("80c90001") + source.to_bytes(4, "big")


def test_the_old_key_opens_reports_after_the_first_packet_under_the_new_one_too(rekeyed):
    keys, before, after = rekeyed
    late, later = before.protect_rtcp(report()), before.protect_rtcp(report())
    assert keys.unprotect(after.protect(rtp(2))) is not None
    assert keys.unprotect_rtcp(late) == report()
    assert keys.unprotect_rtcp(after.protect_rtcp(report())) == report()
    assert keys.settled
    assert keys.next_deadline() == 12.0
    assert keys.on_deadline(12.0) == []
    assert keys.unprotect_rtcp(later) is None
    assert keys.next_deadline() is None


def test_a_report_under_neither_key_is_refused_as_is_one_without_any_key(rekeyed):
    keys, _, _ = rekeyed
    assert keys.unprotect_rtcp(SrtpContext(new_line(), "send").protect_rtcp(report())) is None
    assert ReceiveKeys().unprotect_rtcp(report()) is None


def test_the_old_key_ends_after_two_seconds(rekeyed):
    keys, before, _ = rekeyed
    assert keys.next_deadline() == 12.0
    assert keys.on_deadline(11.9) == []
    assert not keys.settled
    assert keys.on_deadline(12.0) == []
    assert keys.settled
    assert keys.unprotect(before.protect(rtp(2))) is None


def test_the_same_key_again_changes_nothing(keys):
    context = SrtpContext(new_line(), "receive")
    keys.change(context, SSRC, 0.0)
    keys.change(context, SSRC, 1.0)
    assert keys.settled


def test_a_key_may_change_before_any_packet_came(keys):
    old, new = new_line(), new_line()
    keys.change(SrtpContext(old, "receive"), -1, 0.0)
    keys.change(SrtpContext(new, "receive"), -1, 0.0)
    assert keys.unprotect(SrtpContext(new, "send").protect(rtp(1))) == rtp(1)


@pytest.mark.parametrize(
    ("packets", "status"),
    [([1, 1], Status.REPLAY_FAIL), ([1, None], Status.FAIL)],
    ids=["repeated", "too short"],
)
def test_the_reason_of_a_refusal_is_kept(keys, packets, status):
    line = new_line()
    keys.change(SrtpContext(line, "receive"), SSRC, 0.0)
    packet = SrtpContext(line, "send").protect(rtp(1))
    for number in packets:
        keys.unprotect(packet if number else packet[:13])
    assert keys.status is status


def test_what_comes_too_early_is_kept_until_the_key_is_known(keys):
    assert not keys.keep(b"x", SOURCE, 1.0)
    keys.expect(5.0)
    assert keys.next_deadline() == 5.0
    assert not keys.settled
    assert keys.keep(b"x", SOURCE, 1.0)
    assert keys.release() == [(b"x", SOURCE, 1.0)]
    assert keys.settled
    assert keys.release() == []


def test_what_comes_too_early_is_kept_no_longer_than_agreed_and_no_more_than_two_seconds_of_it(
    keys,
):
    keys.expect(5.0)
    kept = [keys.keep(b"x", SOURCE, 1.0) for _ in range(HELD_MAX + 1)]
    assert kept == [True] * HELD_MAX + [False]
    assert keys.on_deadline(4.9) == []
    assert len(keys.on_deadline(5.0)) == HELD_MAX
    assert keys.settled


def test_a_new_key_under_which_the_rollover_counter_goes_on_is_followed(keys):
    needs_counters()
    old, new = new_line(), new_line()
    before = SrtpContext(old, "send")
    keys.change(SrtpContext(old, "receive"), SSRC, 0.0)
    for sequence in (40_000, 65_530, 65_540, 65_550):
        assert keys.unprotect(before.protect(rtp(sequence))) is not None
    after = SrtpContext(new, "send")
    after.set_roc(SSRC, 1)
    keys.change(SrtpContext(new, "receive"), SSRC, 0.0)
    for sequence in (65_551, 65_552):
        assert keys.unprotect(after.protect(rtp(sequence))) == rtp(sequence)
    assert (keys.roc_kept, keys.roc_resets, keys.settled) == (1, 0, True)


def test_a_flood_after_a_rekey_costs_a_few_trials_only(rekeyed, monkeypatch):
    keys, _, _ = rekeyed
    forger = SrtpContext(new_line(), "send")
    tried = []
    monkeypatch.setattr(
        SrtpContext, "authentic_under", lambda _, packet, roc: tried.append((packet, roc))
    )
    for sequence in range(10 * CARRIED_TRIALS):
        assert keys.unprotect(forger.protect(rtp(sequence))) is None
    assert 0 < len(tried) <= 3 * CARRIED_TRIALS


@pytest.mark.parametrize("counter", [0, 1, 3])
def test_a_counter_that_changes_under_the_same_key_is_followed(keys, counter):
    needs_counters()
    line = new_line()
    context = SrtpContext(line, "receive")
    context.set_roc(SSRC, 2)
    keys.change(context, SSRC, 0.0)
    steady = SrtpContext(line, "send")
    steady.set_roc(SSRC, 2)
    assert keys.unprotect(steady.protect(rtp(100))) is not None
    other = SrtpContext(line, "send")
    if counter:
        other.set_roc(SSRC, counter)
    packet = other.protect(rtp(101))
    assert keys.unprotect(packet) is None
    assert keys.follow_rollover(packet) == rtp(101)
    assert keys.roc_resets == 1
    assert keys.unprotect(other.protect(rtp(102))) == rtp(102)


def test_a_packet_of_long_ago_does_not_lead_away_from_the_peer_for_good(keys):
    needs_counters()
    line = new_line()
    recorded = SrtpContext(line, "send").protect(rtp(7))
    context = SrtpContext(line, "receive")
    context.set_roc(SSRC, 5)
    keys.change(context, SSRC, 0.0)
    peer = SrtpContext(line, "send")
    peer.set_roc(SSRC, 5)
    assert keys.unprotect(peer.protect(rtp(100))) is not None
    assert keys.follow_rollover(recorded) is not None
    packet = peer.protect(rtp(101))
    assert keys.unprotect(packet) is None
    assert keys.follow_rollover(packet) == rtp(101)
    assert keys.roc_resets == 2


def test_a_packet_under_another_key_is_not_followed(rekeyed):
    keys, _, _ = rekeyed
    assert keys.follow_rollover(SrtpContext(new_line(), "send").protect(rtp(1))) is None
    assert keys.roc_resets == 0
