"""A snapshot of a running call."""

from __future__ import annotations

import json
import pickle

from callmeter.metrics.call_statistics import CallStatistics, StreamSnapshot
from callmeter.metrics.phases import Phase


def test_both_sides_of_the_first_stream_are_at_hand():
    stream = StreamSnapshot(codec="PCMU", send={"packets_sent": 5}, receive={"jitter_ms": 1.5})
    statistics = CallStatistics(phase=Phase.INCALL, media=(stream,), counters={"hold_count": 1})
    assert statistics.send["packets_sent"] == 5
    assert statistics.receive["jitter_ms"] == 1.5
    assert pickle.loads(pickle.dumps(statistics)) == statistics
    found = json.loads(json.dumps(statistics.to_dict()))
    assert found["phase"] == "INCALL"
    assert found["media"][0] == {
        "kind": "audio",
        "codec": "PCMU",
        "send": {"packets_sent": 5},
        "receive": {"jitter_ms": 1.5},
    }
    assert found["counters"] == {"hold_count": 1}
    assert found["timing"]["post_dial_delay_ms"] is None


def test_a_call_without_media_has_empty_sides():
    statistics = CallStatistics(phase=Phase.CALLING)
    assert statistics.send == statistics.receive == {}
