from __future__ import annotations

import math
import runpy
import sys

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from callmeter.metrics import prometheus
from callmeter.metrics.phases import Outcome, Phase
from callmeter.metrics.prometheus import CallCollector
from callmeter.metrics.report import CallReport, StreamReport

RECEIVED = {"direction": "receive", "kind": "audio", "codec": "PCMU", "keying": "sdes"}


def samples_of(collector):
    """Name and labels to value, as a Prometheus server would read them."""
    registry = CollectorRegistry()
    registry.register(collector)
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value_of(samples, name, **labels):
    return samples[name, tuple(sorted(labels.items()))]


def test_calls_are_counted_by_how_they_ended(secure_call):
    collector = CallCollector()
    collector.add(secure_call)
    collector.add(secure_call)
    collector.add(CallReport(phase=Phase.CLOSED, outcome=Outcome.TIMEOUT))
    samples = samples_of(collector)
    assert (
        value_of(
            samples,
            "callmeter_calls_total",
            outcome="SUCCESS",
            call_result="answered",
            final_status_code="200",
        )
        == 2
    )
    assert (
        value_of(
            samples,
            "callmeter_calls_total",
            outcome="TIMEOUT",
            call_result="",
            final_status_code="",
        )
        == 1
    )


def test_counters_of_streams_add_up(secure_call):
    collector = CallCollector()
    collector.add(secure_call)
    collector.add(secure_call)
    samples = samples_of(collector)
    assert value_of(samples, "callmeter_srtp_decrypt_failures_total", **RECEIVED) == 4
    sent = RECEIVED | {"direction": "send"}
    assert value_of(samples, "callmeter_packets_sent_total", **sent) == 3000
    assert value_of(samples, "callmeter_hold_count_total") == 2


def test_everything_else_is_a_distribution_with_the_limits_as_buckets(secure_call):
    collector = CallCollector()
    collector.add(secure_call)
    samples = samples_of(collector)
    assert value_of(samples, "callmeter_jitter_ms_bucket", le="40.0", **RECEIVED) == 0
    assert value_of(samples, "callmeter_jitter_ms_bucket", le="60.0", **RECEIVED) == 1
    assert value_of(samples, "callmeter_jitter_ms_bucket", le="+Inf", **RECEIVED) == 1
    assert value_of(samples, "callmeter_jitter_ms_count", **RECEIVED) == 1
    assert math.isclose(value_of(samples, "callmeter_jitter_ms_sum", **RECEIVED), 45.21)
    assert value_of(samples, "callmeter_call_setup_time_ms_bucket", le="10.0") == 1
    # It was not measured: nothing of it is there.
    assert not any(name.startswith("callmeter_post_dial_delay_ms") for name, _ in samples)


def test_texts_and_figures_beyond_the_catalogue_are_left_out(secure_call):
    collector = CallCollector()
    collector.add(secure_call)
    names = {name for name, _ in samples_of(collector)}
    assert not any("dtmf_method" in name or "reason_for_silence" in name for name in names)


def test_a_loss_that_the_peer_took_back_does_not_make_a_counter_fall():
    collector = CallCollector()
    stream = StreamReport(codec="PCMU", send={"packets_lost": -2})
    collector.add(CallReport(phase=Phase.CLOSED, media=(stream,)))
    labels = {"direction": "send", "kind": "audio", "codec": "PCMU", "keying": "none"}
    assert value_of(samples_of(collector), "callmeter_packets_lost_total", **labels) == 0


def test_running_calls_are_asked_for_when_prometheus_asks():
    running = [3]
    collector = CallCollector(lambda: running[0])
    assert value_of(samples_of(collector), "callmeter_calls_running") == 3
    running[0] = 5
    assert value_of(samples_of(collector), "callmeter_calls_running") == 5


def test_late_ticks_are_those_of_the_process_and_not_added_up_over_streams():
    stream = StreamReport(codec="PCMU", send={"late_ticks": 7, "packets_sent": 1})
    report = CallReport(phase=Phase.CLOSED, media=(stream, stream))
    alone = CallCollector()
    alone.add(report)
    assert not any("late_ticks" in name for name, _ in samples_of(alone))
    late = [7]
    collector = CallCollector(late_ticks=lambda: late[0])
    collector.add(report)
    assert value_of(samples_of(collector), "callmeter_late_ticks_total") == 7
    late[0] = 9
    assert value_of(samples_of(collector), "callmeter_late_ticks_total") == 9


@pytest.mark.parametrize(
    ("stream", "name"),
    [
        (StreamReport(receive={"packets_received": 5}), "callmeter_packets_received_total"),
        (StreamReport(receive={"jitter_ms": 5.0}), "callmeter_jitter_ms_count"),
    ],
)
def test_labels_without_end_are_refused_and_counted(monkeypatch, stream, name):
    monkeypatch.setattr(prometheus, "MAX_SERIES", 1)
    collector = CallCollector()
    collector.add(CallReport(phase=Phase.CLOSED, media=(stream,)))
    collector.add(CallReport(phase=Phase.CLOSED, final_status_code=404))
    assert collector.refused == 2
    assert name not in {found for found, _ in samples_of(collector)}


def test_without_its_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        runpy.run_path(str(prometheus.__file__))
    assert caught.value.__notes__ == ["It comes with an extra: pip install 'callmeter[prometheus]'"]
