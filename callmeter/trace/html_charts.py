"""The charts of a page: a figure each, in words and as a table too, and the points as JSON."""

from __future__ import annotations

import json
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from callmeter.metrics.metric import Thresholds
from callmeter.trace.chart_data import (
    charts_of,
    drawn,
    drawn_times,
    never_measured,
    samples_per_interval,
)
from callmeter.trace.markup import Markup, element, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callmeter.metrics.report import StreamReport
    from callmeter.trace.chart_data import Chart, Line

__all__ = ["HtmlCharts"]

TABLE_ROWS: Final = 40
"""At most, in the table of a chart."""
_MOST: Final = 0.95


class HtmlCharts:
    """The charts of all streams of a call.

    Args:
        streams: As the report has them.
    """

    def __init__(self, streams: Sequence[StreamReport]) -> None:
        series = [stream.to_dict()["series"] for stream in streams]
        self._streams = [charts_of(each) for each in series]
        self._missing = [never_measured(each) for each in series]

    def markup(self, number: int, name: str = "") -> Markup:
        """The figures of one stream.

        Args:
            number: Which one.
            name: What it is called on the page.
        """
        charts = self._streams[number]
        if not charts:
            return element("p", "The course of this stream was not sampled.", class_="quiet")
        figures = [_figure(chart, f"{number}-{place}", name) for place, chart in enumerate(charts)]
        sampling = _sampling(charts[0], self._missing[number])
        return joined([sampling, element("div", *figures, class_="charts")])

    def json(self) -> Markup:
        """The points to draw, safe inside of a script element."""
        value = {
            f"{number}-{place}": _points(chart)
            for number, charts in enumerate(self._streams)
            for place, chart in enumerate(charts)
        }
        times = {
            str(number): drawn_times(charts[0].times)
            for number, charts in enumerate(self._streams)
            if charts
        }
        text = json.dumps({"times": times, "charts": value}, separators=(",", ":"))
        return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _sampling(chart: Chart, missing: Sequence[str]) -> Markup:
    count = len(chart.times)
    spacing = max(1, round(chart.times[-1] / count))
    each = samples_per_interval(count)
    rate = "one a second" if spacing == 1 else f"one every {spacing} seconds"
    words = f"{count:,} samples, {rate}."
    if each > 1:
        words += (
            f" Drawn by the least and the greatest of every {each} samples, so that no peak is"
            " lost; words and tables are made of all of them."
        )
    if missing:
        words += f" Never measured: {', '.join(missing)}."
    return element("p", words, class_="quiet")


def _points(chart: Chart) -> dict[str, Any]:
    limits = chart.limits
    return {
        "unit": chart.unit,
        "limits": None if limits is None else list(limits),
        "inverted": chart.inverted,
        "counts": chart.counts,
        "bounds": None if chart.bounds is None else list(chart.bounds),
        "lines": [
            {"label": line.label, "side": line.side, "y": drawn(line.values)}
            for line in chart.lines
        ],
    }


def _figure(chart: Chart, identifier: str, name: str) -> Markup:
    unit = f" ({chart.unit})" if chart.unit else ""
    if chart.counts:
        unit = " (new in each sample)"
    words = [_words(chart, line) for line in chart.lines]
    limits = chart.limits
    if limits is not None:
        way = "above" if not chart.inverted else "below"
        warn, bad = (f"{way} {_amount(chart, limit)}" for limit in limits)
        words.append(f"Marked: {warn} worth a look, {bad} bad.")
    return element(
        "figure",
        element("figcaption", element("h4", chart.title, element("span", unit, class_="unit"))),
        element("div", class_="plot", data_chart=identifier, aria_hidden="true"),
        element("ul", *(element("li", each) for each in words), class_="words"),
        _table(chart, name),
        class_="chart",
    )


def _words(chart: Chart, line: Line) -> str:
    """What somebody who does not see the chart should know."""
    known = sorted(value for value in line.values if value is not None)
    unit = f" {chart.unit}" if chart.unit else ""
    if known[0] == known[-1]:
        return f"{line.label}: {_plain(known[0])}{unit} throughout."
    worst = known[0] if chart.inverted else known[-1]
    at = chart.times[line.values.index(worst)]
    middle = known[len(known) // 2]
    most = known[ceil(_MOST * len(known)) - 1]
    name = "lowest" if chart.inverted else "highest"
    if chart.limits is None:
        ends = f"from {_plain(known[0])} to {_plain(known[-1])}"
        return f"{line.label}: median {_plain(middle)}{unit}, {ends}."
    share = "" if chart.inverted else f", 95 % up to {_plain(most)}"
    return (
        f"{line.label}: median {_plain(middle)}{unit}{share}, {name} {_plain(worst)} at "
        f"{_moment(at)}{_beyond(chart, line, len(known))}."
    )


def _beyond(chart: Chart, line: Line, known: int) -> str:
    metric, limits = line.metric, chart.limits
    if metric is None or limits is None:
        return ""
    bounds = Thresholds(*limits)
    bad = sum(metric.grade(value, bounds) > 1 for value in line.values if value is not None)
    return f"; {bad} of {known} samples beyond {_plain(limits[0])}" if bad else ""


def _table(chart: Chart, name: str) -> Markup:
    """All samples, or the mean and the extremes of so many that the table stays readable."""
    each = ceil(len(chart.times) / TABLE_ROWS)
    head = element(
        "tr",
        element("th", "Time", scope="col"),
        *(element("th", line.label, scope="col") for line in chart.lines),
    )
    rows = [
        element(
            "tr",
            element("th", _moment(chart.times[start]), scope="row"),
            *(element("td", _cell(line.values[start : start + each])) for line in chart.lines),
        )
        for start in range(0, len(chart.times), each)
    ]
    merged = "" if each == 1 else f"; each row: mean (least to greatest) of {each} samples"
    caption = f"{chart.title}{', ' + chart.unit if chart.unit else ''}{merged}"
    table = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", *rows),
    )
    return element(
        "details",
        element("summary", "Values", element("span", f" of {chart.title}", class_="unseen")),
        element(
            "div",
            table,
            class_="scroll",
            tabindex="0",
            role="region",
            aria_label=f"{chart.title}: values of {name}",
        ),
    )


def _cell(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = sum(known) / len(known)
    if min(known) == max(known):
        return _plain(mean)
    return f"{_plain(mean)} ({_plain(min(known))} to {_plain(max(known))})"


def _moment(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _amount(chart: Chart, value: float) -> str:
    return f"{_plain(value)} {chart.unit}".rstrip()


def _plain(value: float) -> str:
    text = f"{value:,.2f}" if abs(value) < 100 else f"{value:,.1f}"  # noqa: PLR2004  digits
    return text.rstrip("0").rstrip(".") if "." in text else text
