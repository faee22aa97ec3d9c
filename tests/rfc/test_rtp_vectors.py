"""RFC 3550 appendices A.1, A.3, A.8 and figure 2 against vectors computed elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from callmeter.rtp.report_schedule import round_trip_time
from callmeter.rtp.rtcp import ReportBlock
from callmeter.rtp.stream_table import StreamTable

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "rtp_rfc3550.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("case", VECTORS["jitter"], ids=lambda case: case["name"])
def test_jitter_follows_a8(case):
    rate = case["clock_rate"]
    table = StreamTable()
    row = table.allocate(1, rate, probation=0)
    for number, (event, expected) in enumerate(zip(case["events"], case["expected"], strict=True)):
        table.update_one(row, number, event["rtp_ts"], event["arrival_in_ts_units"] / rate, 160)
        assert table.jitter[row] == pytest.approx(expected["float"], abs=1e-5)


@pytest.mark.parametrize("case", VECTORS["sequence"], ids=lambda case: case["name"])
def test_sequence_numbers_follow_a1_and_loss_a3(case):
    table = StreamTable()
    row = table.allocate(1)
    now = 0.0
    for interval in case["intervals"]:
        accepted = []
        for sequence in interval["seqs"]:
            before = int(table.rejected[row])
            now += 0.02
            table.update_one(row, sequence, 0, now, 160)
            accepted.append(1 - (int(table.rejected[row]) - before))
        fraction, lost = table.take_report_interval(row)
        report = interval["report"]
        assert accepted == interval["accepted"]
        assert {
            "extended_max_seq": int(table.extended_max[row]),
            "expected": table.expected(row),
            "received": table.received(row),
            "cumulative_lost": lost,
            "fraction_lost": fraction,
        } == report


def test_the_round_trip_time_is_that_of_figure_2():
    figure = VECTORS["rtt"]
    block = ReportBlock(
        1, last_sr=int(figure["LSR"], 16), delay_since_last_sr=int(figure["DLSR"], 16)
    )
    assert round_trip_time(block, int(figure["A_ntp_mid32"], 16) << 16) == figure["rtt_seconds"]
