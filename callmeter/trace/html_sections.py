"""The parts of a report page that the report alone tells: diagnosis, security, timing, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.metrics.catalogue import CATALOGUE, Grade
from callmeter.metrics.report import FindingStatus
from callmeter.metrics.report_text import amount
from callmeter.trace.chart_data import label_of
from callmeter.trace.markup import Markup, element, joined
from callmeter.trace.outcome_words import ORDER, by_status, figure, security_words, sentence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from callmeter.metrics.metric import Metric
    from callmeter.metrics.report import CallReport, Finding, SignalingReport, StreamReport

__all__ = [
    "counters_markup",
    "diagnosis_markup",
    "facts",
    "grade_mark",
    "metrics_markup",
    "resolution_markup",
    "signaling_markup",
    "stream_markup",
    "timing_markup",
]

Value = int | float | str | None

_GRADES: Final = {Grade.GOOD: "good", Grade.WARNING: "warn", Grade.CRITICAL: "bad"}
_STATUS: Final = {
    FindingStatus.FAIL: ("bad", "Failed"),
    FindingStatus.WARN: ("warn", "Warning"),
    FindingStatus.PASS: ("good", "Passed"),
    FindingStatus.SKIP: ("open", "Skipped"),
}
_TIMINGS: Final = (
    ("Trying", "time_to_trying_ms", "after the INVITE"),
    ("Ringing", "post_dial_delay_ms", "after the INVITE"),
    ("Answered", "call_setup_time_ms", "after the INVITE"),
    ("First media", "time_to_first_media_ms", "after the answer"),
    ("Talk time", "call_duration_ms", "answer to end"),
)


def grade_mark(key: str, value: Value) -> Markup:
    """How good a value is, as a word; nothing where there is no limit."""
    metric = CATALOGUE.get(key)
    if metric is None or value is None or isinstance(value, str):
        return Markup()
    grade = _GRADES.get(metric.grade(value))
    if grade is None:
        return Markup()
    return element("span", grade, class_=f"mark {grade}")


def facts(rows: Iterable[tuple[str, str | None]]) -> Markup:
    """Names and values; what has no value is left out."""
    return element(
        "dl",
        *(
            element("div", element("dt", name), element("dd", value))
            for name, value in rows
            if value
        ),
        class_="facts-list",
    )


# diagnosis


def diagnosis_markup(report: CallReport) -> Markup:
    """The findings, what is wrong first; what was skipped is folded."""
    if not report.diagnosis:
        return element("p", "Nothing was checked.", class_="quiet")
    parts = []
    for status in ORDER:
        found = by_status(report.diagnosis, status)
        if not found:
            continue
        if status in {FindingStatus.FAIL, FindingStatus.WARN}:
            parts.append(element("ul", *map(_finding, found), class_="findings"))
            continue
        grade, word = _STATUS[status]
        label = f"{len(found)} {'check' if len(found) == 1 else 'checks'} {word.lower()}"
        rows = element("ul", *map(_brief, found), class_=f"briefs {grade}")
        is_open = status is FindingStatus.PASS
        parts.append(element("details", element("summary", label), rows, open=is_open))
    return joined(parts)


def _brief(finding: Finding) -> Markup:
    """A finding about which nothing is to be done."""
    detail = element("span", finding.detail, class_="quiet") if finding.detail else None
    return element("li", element("b", label_of(finding.check)), " ", detail)


def _finding(finding: Finding) -> Markup:
    grade, word = _STATUS[finding.status]
    remedy = None
    if finding.remedy:
        remedy = element("p", element("b", "What to do: "), finding.remedy, class_="remedy")
    return element(
        "li",
        element("span", word, class_=f"mark {grade}"),
        element(
            "div",
            element("h3", label_of(finding.check)),
            element("p", sentence(finding.detail)) if finding.detail else None,
            remedy,
        ),
        class_=f"finding {grade}",
    )


# security


def signaling_markup(signaling: SignalingReport) -> Markup:
    """How the signalling went."""
    tls = signaling.tls
    if tls is None:
        grade, words = "warn", "Not encrypted"
    elif tls.verified:
        grade, words = "good", "Encrypted, certificate verified"
    else:
        grade, words = "warn", "Encrypted, certificate not verified"
    if not signaling.transport:
        grade, words = "open", "Nothing was sent"
    return _card(
        "Signalling",
        grade,
        words,
        (
            ("Transport", signaling.transport),
            ("TLS", None if tls is None else f"{tls.version}, {tls.cipher}"),
            ("This side", signaling.local),
            ("Peer", signaling.remote),
        ),
    )


def stream_markup(stream: StreamReport) -> Markup:
    """What was negotiated of a stream."""
    grade, words = security_words(stream)
    return _card(
        stream.kind.capitalize(),
        grade,
        words,
        (
            ("Codec", stream.codec or "none"),
            ("Keys", {"none": "none", "sdes": "SDES", "dtls": "DTLS-SRTP"}[stream.keying.value]),
            ("Suite", stream.suite),
            ("Profile", stream.profile),
            ("Direction", stream.direction),
            ("RTCP", "on the RTP port" if stream.rtcp_mux else "on its own port"),
            ("Feedback", "AVPF" if stream.feedback else None),
            ("ICE", "used" if stream.ice else None),
            ("This side", stream.local),
            ("Peer", stream.remote),
        ),
    )


def _card(title: str, grade: str, words: str, rows: Iterable[tuple[str, str | None]]) -> Markup:
    return element(
        "article",
        element("h3", title),
        element("p", words, class_=f"verdict {grade}"),
        facts(rows),
        class_="card",
    )


def resolution_markup(resolution: Mapping[str, object] | None) -> Markup:
    """What the DNS was asked."""
    if resolution is None:
        return Markup()
    asked = resolution.get("asked")
    rows = []
    for each in asked if isinstance(asked, list | tuple) else ():
        answers = each.get("answers") or ()
        said = ", ".join(map(str, answers)) or "no record"
        rows.append(
            element(
                "tr",
                element("th", str(each.get("name", "")), scope="row"),
                element("td", str(each.get("type", ""))),
                element("td", said, class_="wide"),
            )
        )
    if not rows:
        return Markup()
    heads = (element("th", name, scope="col") for name in ("Name", "Type", "Answers"))
    return _scrolled(
        "What the DNS was asked",
        element("table", element("thead", element("tr", *heads)), element("tbody", *rows)),
    )


# timing and metrics


def timing_markup(report: CallReport) -> Markup:
    """The milestones in their order."""
    values = report.timing.metrics()
    steps = [
        element(
            "li",
            element("span", label, class_="step"),
            element("b", figure(key, values[key]), class_="figure"),
            element("span", since, class_="quiet"),
            grade_mark(key, values[key]),
        )
        for label, key, since in _TIMINGS
        if values[key] is not None
    ]
    if not steps:
        return element("p", "It did not get so far.", class_="quiet")
    return element("ol", *steps, class_="timeline")


def metrics_markup(stream: StreamReport, name: str = "the stream") -> Markup:
    """Every metric of a stream that has a value, both ways, with its limits.

    Args:
        stream: As it was measured.
        name: What it is called on the page.
    """
    measured = stream.to_dict()
    send, receive = measured["send"], measured["receive"]
    found = dict.fromkeys([*send, *receive])
    keys = [key for key in CATALOGUE if key in found]
    keys += [key for key in found if key not in CATALOGUE]
    values = {
        key: (send.get(key), receive.get(key))
        for key in keys
        if send.get(key) is not None or receive.get(key) is not None
    }
    telling = {key: pair for key, pair in values.items() if any(pair) or _is_judged(key)}
    zero = {key: pair for key, pair in values.items() if key not in telling}
    parts = [_metrics_table(f"Metrics of {name}", telling)]
    if zero:
        label = f"{len(zero)} more that are zero"
        table = _metrics_table(f"Metrics of {name} that are zero", zero)
        parts.append(element("details", element("summary", label), table))
    return joined(parts)


def _is_judged(key: str) -> bool:
    return key in CATALOGUE and CATALOGUE[key].thresholds is not None


def _metrics_table(label: str, values: Mapping[str, tuple[Value, Value]]) -> Markup:
    heads = (element("th", name, scope="col") for name in ("Metric", "Sent", "Received", "Limits"))
    return _scrolled(
        label,
        element(
            "table",
            element("thead", element("tr", *heads)),
            element("tbody", *(_metric_row(key, pair) for key, pair in values.items())),
            class_="metrics",
        ),
    )


def _metric_row(key: str, values: tuple[Value, Value]) -> Markup:
    metric = CATALOGUE.get(key)
    about = None if metric is None else element("span", metric.description, class_="about")
    cells = [
        element("td", "" if value is None else joined([figure(key, value), grade_mark(key, value)]))
        for value in values
    ]
    return element(
        "tr",
        element("th", element("span", label_of(key)), about, scope="row"),
        *cells,
        element("td", _limits(metric), class_="limits"),
    )


def _limits(metric: Metric | None) -> str:
    if metric is None or metric.thresholds is None:
        return ""
    limits, unit = metric.thresholds, metric.unit if metric.unit in {"ms", "%"} else ""
    way = "≥" if metric.inverted else "≤"
    return f"good {way} {limits.warning:g}, bad beyond {limits.critical:g} {unit}".rstrip()


def counters_markup(report: CallReport) -> Markup:
    """What was counted in the call as a whole."""
    counters = report.to_dict()["counters"]
    rows = [
        element(
            "li",
            element("span", label_of(key)),
            element("b", amount(key, value)),
            grade_mark(key, value) if value else None,
        )
        for key, value in counters.items()
        if value is not None
    ]
    return element("ul", *rows, class_="counters")


def _scrolled(label: str, table: Markup) -> Markup:
    return element("div", table, class_="scroll", role="region", aria_label=label, tabindex="0")
