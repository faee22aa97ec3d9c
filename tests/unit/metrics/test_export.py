from __future__ import annotations

import csv
import io
import json

from callmeter.metrics.catalogue import CATALOGUE, run_keys
from callmeter.metrics.export import CSV_COLUMNS, json_line, write_csv, write_json_lines
from callmeter.metrics.phases import Outcome, Phase
from callmeter.metrics.report import CallReport, ErrorReport

REFUSED = CallReport(
    phase=Phase.CLOSED,
    outcome=Outcome.CALL_FAILED,
    final_status_code=486,
    error=ErrorReport("CallRejected", "486 Busy Here"),
)


def rows_of(*reports):
    file = io.StringIO(newline="")
    count = write_csv(reports, file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    assert count == len(rows)
    return rows


def test_a_json_line_is_the_report_on_one_line(secure_call):
    line = json_line(secure_call)
    assert "\n" not in line
    assert json.loads(line) == secure_call.to_dict()


def test_each_call_has_a_line(secure_call):
    file = io.StringIO()
    assert write_json_lines([secure_call, REFUSED], file) == 2
    first, second = map(json.loads, file.getvalue().splitlines())
    assert first["outcome"] == "SUCCESS"
    assert second["error"]["message"] == "486 Busy Here"


def test_a_stream_is_a_row_with_what_its_call_measured(secure_call):
    (row,) = rows_of(secure_call)
    assert row["call"] == "0"
    assert row["transport"] == "TLS"
    assert row["call_setup_time_ms"] == "8.932"
    assert row["hold_count"] == "1"
    assert row["dtmf_method"] == "rtp"
    assert (row["stream"], row["codec"], row["keying"]) == ("0", "PCMU", "sdes")
    assert row["send_packets_sent"] == "1500"
    assert row["receive_jitter_ms"] == "45.21"
    assert row["receive_rtt_ms"] == ""


def test_a_call_without_media_is_a_row_too(secure_call):
    _, row = rows_of(secure_call, REFUSED)
    assert (row["call"], row["final_status_code"]) == ("1", "486")
    assert (row["error"], row["error_message"]) == ("CallRejected", "486 Busy Here")
    assert row["codec"] == ""


def test_every_metric_has_a_column():
    columns = {column.removeprefix("send_").removeprefix("receive_") for column in CSV_COLUMNS}
    assert set(CATALOGUE) - set(run_keys()) <= columns
    assert len(CSV_COLUMNS) == len(set(CSV_COLUMNS))
