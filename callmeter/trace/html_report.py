"""The report of a call as one page: self-contained, and safe whatever the peer sent.

Nothing is fetched and nothing but the page's own scripts and styles runs: its Content Security
Policy names them by hash. Text of the call gets in only by `callmeter.trace.markup`.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from callmeter.trace.html_charts import HtmlCharts
from callmeter.trace.html_ladder import HtmlLadder
from callmeter.trace.html_sections import (
    counters_markup,
    diagnosis_markup,
    facts,
    grade_mark,
    metrics_markup,
    resolution_markup,
    signaling_markup,
    stream_markup,
    timing_markup,
)
from callmeter.trace.markup import Markup, element, joined
from callmeter.trace.outcome_words import figure, outcome_words, security_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from callmeter.metrics.report import CallReport
    from callmeter.trace.message_log import LoggedMessage

__all__ = ["html_report"]

_LIBRARY: Final = "uplot/uPlot.iife.min.js"
_LIBRARY_STYLES: Final = "uplot/uPlot.min.css"
_TILES: Final = (
    ("Answered after", "timing", "call_setup_time_ms"),
    ("Talk time", "timing", "call_duration_ms"),
    ("Jitter", "receive", "jitter_ms"),
    ("Loss", "receive", "fraction_lost"),
    ("MOS", "receive", "mos"),
    ("Round trip", "receive", "rtt_ms"),
)
"""Label, place and first key or beginning of it."""


def html_report(report: CallReport, messages: Iterable[LoggedMessage] = ()) -> str:
    """Make the page of a call.

    Args:
        report: What was measured.
        messages: The SIP messages of the call; what is shown of them has no secrets.

    Returns:
        A whole HTML document, below a megabyte.
    """
    ladder = HtmlLadder(tuple(messages))
    charts = HtmlCharts(report.media)
    styles = Markup(_asset(_LIBRARY_STYLES) + _asset("report.css") + ladder.styles())
    scripts = [Markup(_asset(_LIBRARY)), Markup(_asset("report.js"))]
    title = f"{outcome_words(report).headline} - callmeter"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(scripts, styles)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", styles),
    )
    body = element(
        "body",
        element("a", "Skip to the report", href="#report", class_="skip"),
        _top(),
        element("main", *_sections(report, ladder, charts, tuple(messages)), id="report"),
        _foot(),
        element("script", charts.json(), type="application/json", id="points"),
        *(element("script", script) for script in scripts),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


@cache
def _asset(name: str) -> str:
    return files("callmeter.trace").joinpath("assets", name).read_text(encoding="utf-8")


def _policy(scripts: Iterable[str], styles: str) -> str:
    """Only these scripts and styles, and nothing from anywhere."""
    allowed = " ".join(map(_hash, scripts))
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(styles)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


# parts


def _top() -> Markup:
    button = element(
        "button",
        "Dark",
        id="theme",
        type="button",
        hidden=True,
        aria_label="Use dark colours",
    )
    name = element("span", "callmeter", element("span", " call report", class_="quiet"))
    return element("header", name, button, class_="top")


def _foot() -> Markup:
    try:
        release = f" {version('callmeter')}"
    except PackageNotFoundError:  # run from its sources
        release = ""
    words = f"Made by callmeter{release}. Passwords and keys are left out. "
    library = "Charts drawn by uPlot (MIT licence, © 2022 Leon Sorokin)."
    return element("footer", element("p", words, library))


def _sections(
    report: CallReport,
    ladder: HtmlLadder,
    charts: HtmlCharts,
    messages: Sequence[LoggedMessage],
) -> list[Markup]:
    parts = [
        ("diagnosis", "Diagnosis", diagnosis_markup(report)),
        ("messages", "Messages", _messages(ladder, messages)),
        ("security", "What was negotiated", _negotiated(report)),
        ("timing", "Timing", timing_markup(report)),
        ("quality", "Quality over time", _quality(report, charts)),
        ("metrics", "Metrics", _metrics(report)),
    ]
    links = (element("li", element("a", title, href=f"#{name}")) for name, title, _ in parts)
    nav = element("nav", element("ul", *links), aria_label="Parts of the report")
    sections = [
        element(
            "section",
            element("h2", title, id=f"{name}-title"),
            content,
            id=name,
            aria_labelledby=f"{name}-title",
        )
        for name, title, content in parts
    ]
    return [_outcome(report, messages), nav, *sections]


def _outcome(report: CallReport, messages: Sequence[LoggedMessage]) -> Markup:
    words = outcome_words(report)
    began = next((entry.wall for entry in messages if entry.wall is not None), None)
    secure = joined(
        (
            element("span", f"{stream.kind.capitalize()}: {said}", class_=f"verdict {grade}")
            for stream in report.media
            for grade, said in [security_words(stream)]
        ),
        " ",
    )
    return element(
        "section",
        element("p", words.label, class_=f"status {words.grade}"),
        element("h1", words.headline),
        element("p", " ".join(words.lead), class_="lead") if words.lead else None,
        facts(
            (
                ("With", report.party),
                ("Began", None if began is None else _clock(began)),
                ("Signalling", report.signaling.transport),
                ("Response", _status(report)),
            )
        ),
        element("p", secure, class_="verdicts") if secure else None,
        _tiles(report),
        class_=f"outcome {words.grade}",
        id="outcome",
        aria_label="Outcome",
    )


def _status(report: CallReport) -> str | None:
    code = report.final_status_code
    return None if code is None else f"{code} ({report.call_result})"


def _clock(wall: float) -> str:
    return f"{datetime.fromtimestamp(wall, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _tiles(report: CallReport) -> Markup | None:
    """The figures somebody looks for first."""
    places: dict[str, dict[str, float | int | str | None]] = {"timing": {}, "receive": {}}
    places["timing"].update(report.timing.metrics())
    if report.media:
        places["receive"].update(report.media[0].receive)
    tiles = []
    for label, place, beginning in _TILES:
        values = places[place]
        key = next((key for key in values if key.startswith(beginning)), None)
        if key is None or values[key] is None:
            continue
        tiles.append(
            element(
                "li",
                element("span", label, class_="quiet"),
                element("b", figure(key, values[key]), class_="figure"),
                grade_mark(key, values[key]),
            )
        )
    return element("ul", *tiles, class_="tiles") if tiles else None


def _messages(ladder: HtmlLadder, messages: Sequence[LoggedMessage]) -> Markup:
    if not messages:
        return ladder.markup()
    hint = element(
        "p", "Open a message to read it. Seconds count from the first one.", class_="quiet"
    )
    button = element("button", "Open all", id="open-all", type="button", hidden=True)
    return joined([element("div", hint, button, class_="bar"), ladder.markup()])


def _negotiated(report: CallReport) -> Markup:
    cards = [signaling_markup(report.signaling), *map(stream_markup, report.media)]
    parts = [element("div", *cards, class_="cards")]
    if not report.media:
        parts.append(element("p", "No media stream was negotiated.", class_="quiet"))
    parts.append(resolution_markup(report.signaling.resolution))
    return joined(parts)


def _quality(report: CallReport, charts: HtmlCharts) -> Markup:
    if not report.media:
        return element("p", "There was no media.", class_="quiet")
    return joined(
        joined(
            [
                element("h3", _stream_title(report, number)),
                charts.markup(number, _stream_title(report, number)),
            ]
        )
        for number in range(len(report.media))
    )


def _metrics(report: CallReport) -> Markup:
    parts = []
    for number, stream in enumerate(report.media):
        parts += [
            element("h3", _stream_title(report, number)),
            metrics_markup(stream, _stream_title(report, number)),
        ]
    parts += [element("h3", "Call"), counters_markup(report)]
    return joined(parts)


def _stream_title(report: CallReport, number: int) -> str:
    stream = report.media[number]
    same = sum(other.kind == stream.kind for other in report.media)
    place = f" {number + 1}" if same > 1 else ""
    return f"{stream.kind.capitalize()}{place}{', ' + stream.codec if stream.codec else ''}"
