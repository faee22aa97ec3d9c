from __future__ import annotations

import json
import pickle

from callmeter.metrics.catalogue import CATALOGUE
from callmeter.metrics.series import StreamSeries

SERIES = StreamSeries(
    at_ms=(1000.00049, 2000.0),
    send={"packets_sent_rate_ps": (50.0, 49.9996)},
    receive={"jitter_ms": (None, 1.25)},
)


def test_each_side_has_its_moments_and_values():
    assert json.loads(json.dumps(SERIES.to_dict())) == {
        "send": {"at_ms": [1000.0, 2000.0], "packets_sent_rate_ps": [50.0, 50.0]},
        "receive": {"at_ms": [1000.0, 2000.0], "jitter_ms": [None, 1.25]},
    }


def test_a_series_pickles():
    assert pickle.loads(pickle.dumps(SERIES)) == SERIES


def test_the_keys_are_those_of_the_catalogue():
    assert {*SERIES.send, *SERIES.receive} <= set(CATALOGUE)
