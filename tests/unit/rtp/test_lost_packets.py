from __future__ import annotations

import pytest

from callmeter.rtp.lost_packets import LostPackets


def lost(*, ask=True, rtt_s=0.05):
    packets = LostPackets(ask=ask, rtt_s=rtt_s)
    packets.note(65_534, 65_538, 1.0)
    return packets


def test_numbers_are_asked_for_modulo_16_bits_once_they_are_no_mere_reordering():
    packets = lost()
    assert packets.due(1.005) == []
    assert packets.due(1.01) == [65_534, 65_535, 0, 1]


def test_a_number_is_asked_for_again_after_a_round_trip():
    packets = lost()
    packets.due(1.01)
    assert packets.due(1.05) == []
    packets.found(65_535)
    assert packets.due(1.061) == [65_534, 0, 1]
    packets.rtt_s = 0.2
    assert packets.due(1.2) == []
    assert packets.due(1.262) == [65_534, 0, 1]


def test_on_a_short_path_they_are_20_ms_apart():
    packets = lost(rtt_s=0.001)
    packets.due(1.01)
    assert packets.due(1.025) == []
    assert packets.due(1.031)


def test_a_number_is_asked_for_four_times_then_given_up():
    packets = lost()
    times = [1.01 + 0.05 * number + 0.001 for number in range(20)]
    asked = [now for now in times if packets.due(now)]
    assert asked == times[:4]
    assert not packets.given_up(65_534, times[3] + 0.049)
    assert packets.given_up(65_534, times[3] + 0.051)


def test_on_a_long_path_a_number_is_given_up_after_a_second():
    packets = lost(rtt_s=3.0)
    packets.due(1.01)
    assert not packets.given_up(65_534, 1.99)
    assert packets.given_up(65_534, 2.0)


def test_what_nobody_asks_for_is_given_up_when_it_is_not_merely_reordered():
    packets = lost(ask=False)
    assert packets.due(1.05) == []
    assert not packets.given_up(65_534, 1.09)
    assert packets.given_up(65_534, 1.11)


def test_packets_that_come_because_they_were_asked_for_are_counted():
    packets = lost()
    packets.found(65_534)
    packets.due(1.02)
    packets.found(65_535)
    packets.found(7)
    assert packets.recovered == 1
    packets.forget(65_530, 65_540)
    assert not packets
    assert packets.due(9.0) == []


def test_a_gap_of_many_packets_is_asked_for_in_parts():
    packets = LostPackets(ask=True, rtt_s=0.1)
    packets.note(0, 200, 1.0)
    assert packets.due(1.02) == list(range(128))
    assert packets.due(1.03) == list(range(128, 200))


@pytest.mark.parametrize("ask", [True, False])
def test_nothing_lost_is_nothing_to_ask_for(ask):
    packets = LostPackets(ask=ask, rtt_s=0.1)
    assert not packets
    assert packets.due(1.0) == []
