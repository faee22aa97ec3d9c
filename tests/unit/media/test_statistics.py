"""A snapshot is a value."""

from __future__ import annotations

import dataclasses
import pickle

import pytest


def test_a_snapshot_is_frozen_and_can_be_sent_to_another_process(lab):
    a, _ = lab.pair()
    lab.run(1.0)
    statistics = a.statistics()
    assert pickle.loads(pickle.dumps(statistics)) == statistics
    with pytest.raises(dataclasses.FrozenInstanceError):
        statistics.ssrc = 1


def test_a_stream_without_a_peer_has_nothing_to_measure(lab):
    stream = lab.open()
    statistics = stream.statistics()
    assert statistics.rtt_ms is None
    assert statistics.reported_fraction_lost is None
    assert statistics.receive.jitter_ms is None
    assert statistics.first_packet_at is None
    assert not statistics.source_locked
