"""Source learning: R22's states, packet by packet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.media.latch import LEARN_PACKETS, Latch, Verdict

PEER, NAT, EVIL = "peer", "nat", "evil"


def test_the_signalled_source_is_accepted_and_locks_at_once():
    latch = Latch(PEER, symmetric=True)
    assert latch.on_plain(PEER, 1, 0, 10, 0.0) is Verdict.ACCEPT
    assert latch.locked
    for sequence in range(20):
        assert latch.on_plain(EVIL, 1, 0, 11 + sequence, 0.001) is Verdict.DROP


def test_a_stream_that_is_not_symmetric_never_learns():
    latch = Latch(PEER, symmetric=False)
    for sequence in range(5):
        assert latch.on_plain(NAT, 1, 0, sequence, 0.0) is Verdict.DROP
    assert latch.source == PEER


def test_three_agreeing_packets_from_one_place_are_learned():
    latch = Latch(PEER, symmetric=True)
    verdicts = [latch.on_plain(NAT, 1, 0, 65_534 + n & 0xFFFF, 0.02 * n) for n in range(4)]
    assert verdicts == [Verdict.HOLD, Verdict.HOLD, Verdict.ACCEPT, Verdict.ACCEPT]
    assert latch.source == NAT
    assert latch.on_plain(PEER, 1, 0, 3, 0.3) is Verdict.DROP


@pytest.mark.parametrize(
    ("ssrc", "payload_type", "sequence"),
    [(2, 0, 11), (1, 8, 11), (1, 0, 10), (1, 0, 40), (1, 0, 9)],
)
def test_packets_that_disagree_prove_nothing(ssrc, payload_type, sequence):
    latch = Latch(PEER, symmetric=True)
    latch.on_plain(NAT, 1, 0, 10, 0.0)
    assert latch.on_plain(NAT, ssrc, payload_type, sequence, 0.0) is Verdict.DROP
    assert not latch.locked


def test_five_packets_are_kept_and_then_nobody_new_is_listened_to():
    latch = Latch(PEER, symmetric=True)
    for number in range(LEARN_PACKETS):
        assert latch.on_plain(f"evil {number}", 1, 0, 0, 0.0) is Verdict.HOLD
    for sequence in range(9):
        assert latch.on_plain(NAT, 1, 0, sequence, 0.02 * sequence) is Verdict.DROP
    assert latch.on_plain(NAT, 1, 0, 20, 0.4) is Verdict.DROP
    assert latch.locked
    assert latch.source == PEER


def test_packets_fired_off_at_once_are_not_learned_and_real_ones_behind_them_are():
    latch = Latch(PEER, symmetric=True)
    verdicts = [latch.on_plain(NAT, 1, 0, sequence, 0.0001 * sequence) for sequence in range(7)]
    assert verdicts == [Verdict.HOLD] * 5 + [Verdict.DROP] * 2
    assert latch.on_plain(NAT, 1, 0, 7, 0.02) is Verdict.ACCEPT
    assert latch.source == NAT


def test_a_flood_is_no_media_however_long_it_lasts():
    latch = Latch(PEER, symmetric=True)
    verdicts = {latch.on_plain(EVIL, 1, 0, number, 0.001 * number) for number in range(400)}
    assert verdicts == {Verdict.HOLD, Verdict.DROP}
    assert latch.locked
    assert latch.source == PEER


def test_media_that_was_held_up_is_learned_once_its_pace_shows():
    latch = Latch(PEER, symmetric=True)
    arrivals = [0.0] * 8 + [0.02 * number for number in range(1, 4)]
    verdicts = [latch.on_plain(NAT, 1, 0, *each) for each in enumerate(arrivals)]
    assert verdicts[:9] == [Verdict.HOLD] * 5 + [Verdict.DROP] * 4
    assert verdicts[9:] == [Verdict.ACCEPT] * 2


def test_the_signalled_source_takes_a_learned_latch_back_while_the_window_is_open():
    for at, verdict, source in ((0.2, Verdict.ACCEPT, PEER), (0.3, Verdict.DROP, EVIL)):
        latch = Latch(PEER, symmetric=True)
        for number in range(3):
            latch.on_plain(EVIL, 1, 0, number, 0.02 * number)
        assert latch.source == EVIL
        assert latch.on_plain(PEER, 2, 0, 0, at) is verdict
        assert latch.source == source
        assert latch.locked


def test_the_window_closes_after_a_quarter_of_a_second():
    latch = Latch(PEER, symmetric=True)
    latch.on_plain(NAT, 1, 0, 0, 1.0)
    assert latch.on_plain(NAT, 1, 0, 1, 1.26) is Verdict.DROP
    assert latch.locked


def test_the_signalled_source_wins_against_a_half_learned_one():
    latch = Latch(PEER, symmetric=True)
    latch.on_plain(NAT, 1, 0, 0, 0.0)
    latch.on_plain(NAT, 1, 0, 1, 0.0)
    assert latch.on_plain(PEER, 2, 0, 0, 0.0) is Verdict.ACCEPT
    assert latch.on_plain(NAT, 1, 0, 2, 0.0) is Verdict.DROP


def test_an_authenticated_packet_moves_the_latch_only_when_it_is_the_newest():
    latch = Latch(PEER, symmetric=True)
    assert not latch.on_authenticated(PEER, newest=True)
    assert latch.locked
    assert not latch.on_authenticated(NAT, newest=False)
    assert latch.source == PEER
    assert latch.on_authenticated(NAT, newest=True)
    assert latch.source == NAT


packets = st.lists(
    st.tuples(
        st.sampled_from([PEER, NAT, EVIL, "third"]),
        st.integers(1, 2),
        st.sampled_from([0, 8]),
        st.integers(0, 40),
        st.floats(0, 0.1),
    ),
    max_size=40,
)


@given(packets, st.booleans())
def test_whatever_comes_few_packets_are_kept_and_a_locked_latch_only_goes_home(sent, symmetric):
    latch = Latch(PEER, symmetric=symmetric)
    now = 0.0
    kept = 0
    for source, ssrc, payload_type, sequence, pause in sent:
        now += pause
        before, locked = latch.source, latch.locked
        verdict = latch.on_plain(source, ssrc, payload_type, sequence, now)
        kept += verdict is Verdict.HOLD
        if verdict is Verdict.ACCEPT:
            assert latch.source == source
            assert latch.locked
        if locked:
            assert latch.locked
            assert latch.source in {before, PEER}
            assert verdict is not Verdict.HOLD
        if not symmetric:
            assert latch.source == PEER
    assert kept <= LEARN_PACKETS
