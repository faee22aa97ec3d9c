"""Where others add figures of a stream."""

from __future__ import annotations

import pytest

from callmeter.errors import ConfigurationError
from callmeter.media.measures import Measures
from callmeter.media.stream_metrics import receive_metrics
from callmeter.metrics.catalogue import Direction


def test_each_side_has_the_figures_of_its_sources_the_later_ones_first():
    measures, value = Measures(), {"plc_events": 1.0, "opus_packet_loss": 2.0}
    measures.add(Direction.RECEIVE, lambda: value)
    measures.add(Direction.RECEIVE, lambda: {"plc_events": 3.0})
    measures.add(Direction.SEND, lambda: {"keyframes_sent": 4})
    value["opus_packet_loss"] = 5.0
    assert measures.of(Direction.RECEIVE) == {"plc_events": 3.0, "opus_packet_loss": 5.0}
    assert measures.of(Direction.SEND) == {"keyframes_sent": 4}


def test_a_key_of_the_other_side_is_refused():
    measures = Measures()
    measures.add(Direction.RECEIVE, lambda: {"keyframes_sent": 4})
    with pytest.raises(ConfigurationError, match=r"no metric of receive: .*keyframes_sent"):
        measures.of(Direction.RECEIVE)


def test_they_are_in_the_figures_of_a_running_stream(lab):
    stream = lab.open()
    stream.measures.add(Direction.RECEIVE, lambda: {"plc_events": 1.5})
    assert receive_metrics(stream.statistics())["plc_events"] == 1.5
