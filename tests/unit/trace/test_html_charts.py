from __future__ import annotations

import json

from callmeter.metrics.report import StreamReport
from callmeter.metrics.series import StreamSeries
from callmeter.trace.html_charts import TABLE_ROWS, HtmlCharts


def stream(**receive):
    count = len(next(iter(receive.values())))
    at = tuple(1000.0 * (place + 1) for place in range(count))
    return StreamReport(series=StreamSeries(at_ms=at, receive=receive))


def test_a_chart_is_told_in_words_too(page):
    jitter = (1.0, 2.0, 3.0, 25.0)
    found = page(HtmlCharts([stream(jitter_ms=jitter)]).markup(0))
    assert (
        "Received: median 3 ms, 95 % up to 25, highest 25 at 0:04; 1 of 4 samples beyond 20."
        in found.text
    )
    assert "Marked: above 20 ms worth a look, above 40 ms bad." in found.text
    assert found.of("figure")


def test_what_has_no_limit_is_told_from_end_to_end(page):
    packets = stream(packets_recv_rate_ps=(50.0, 48.0, 0.0), jitter_ms=(None, None, None))
    text = page(HtmlCharts([packets]).markup(0)).text
    assert "Received: median 48 packets/s, from 0 to 50." in text
    assert "Never measured: jitter received." in text


def test_a_counter_is_drawn_as_what_was_new(page):
    charts = HtmlCharts([stream(srtp_decrypt_failures=(0, 9, 0))])
    assert "Security counters (new in each sample)" in page(charts.markup(0)).text
    assert json.loads(charts.json())["charts"]["0-0"]["counts"] is True


def test_a_course_that_never_changes_is_one_value(page):
    found = page(HtmlCharts([stream(srtp_decrypt_failures=(0, 0))]).markup(0))
    assert "Received: 0 throughout." in found.text


def test_a_chart_has_a_table_of_its_values(page):
    found = page(HtmlCharts([stream(jitter_ms=(1.0, None, 3.25))]).markup(0))
    assert "0:01 1 0:02 - 0:03 3.25" in found.text


def test_the_table_of_a_long_call_has_means_and_extremes(page, course):
    found = page(HtmlCharts([StreamReport(series=course(3600))]).markup(0))
    tables = len(found.of("table"))
    assert tables == len(found.of("figure")) == 4
    assert len(found.of("tr")) == tables * (TABLE_ROWS + 1)
    assert "each row: mean (least to greatest) of 90 samples" in found.text
    assert "58:31 3 (2 to 4)" in found.text


def test_what_is_left_out_of_a_drawing_is_said(page, course):
    text = page(HtmlCharts([StreamReport(series=course(3600))]).markup(0)).text
    assert "Drawn by the least and the greatest of every 12 samples" in text
    assert "3,600 samples" in text
    assert "Drawn by" not in page(HtmlCharts([StreamReport(series=course(60))]).markup(0)).text


def test_a_stream_that_was_not_sampled_says_so(page):
    charts = HtmlCharts([StreamReport()])
    assert page(charts.markup(0)).text == "The course of this stream was not sampled."
    assert json.loads(charts.json()) == {"times": {}, "charts": {}}


def test_the_points_are_json_that_ends_no_script():
    charts = HtmlCharts([stream(jitter_ms=(1.0, 2.0)), stream(fraction_lost=(0.0, 50.0))])
    points = json.loads(charts.json())
    assert points["times"] == {"0": [1, 2], "1": [1, 2]}
    assert points["charts"]["1-0"] == {
        "unit": "%",
        "limits": [1, 5],
        "inverted": False,
        "counts": False,
        "bounds": None,
        "lines": [{"label": "Received", "side": "received", "y": [0, 50]}],
    }
    hostile = HtmlCharts([stream(**{"</script><b>&": (1.0, 2.0)})])
    assert not {"<", ">", "&"} & set(hostile.json())
    assert json.loads(hostile.json())
