"""The parts of a report page that the report alone tells: diagnosis, security, timing, metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass
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


@dataclass(slots=True)
class _Pair:
    """A metric of both sides, whose keys may differ: key and value of each."""

    sent: tuple[str, Value] | None = None
    received: tuple[str, Value] | None = None

    @property
    def values(self) -> list[tuple[str, Value]]:
        """What there is."""
        return [each for each in (self.sent, self.received) if each is not None]

    @property
    def tells(self) -> bool:
        """Whether it is not zero, or zero is worth telling."""
        return any(
            value or (key in CATALOGUE and CATALOGUE[key].thresholds is not None)
            for key, value in self.values
        )


_GRADES: Final = {Grade.GOOD: "good", Grade.WARNING: "warn", Grade.CRITICAL: "bad"}
_SIDES: Final = re.compile(r"_(sent|received|recv)(?=_|$)")
"""What tells the two keys of a metric apart."""
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
    elif not tls.certificate:
        grade, words = "good", "Encrypted, the peer showed no certificate"
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
            ("Media came from", None if stream.source == stream.remote else stream.source),
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


def metrics_markup(stream: StreamReport, title: str = "the stream") -> Markup:
    """Every metric of a stream that has a value, both ways, with its limits.

    Args:
        stream: As it was measured.
        title: What it is called on the page.
    """
    measured = stream.to_dict()
    send, receive = measured["send"], measured["receive"]
    found = dict.fromkeys([*send, *receive])
    pairs: dict[str, _Pair] = {}
    for key in [key for key in CATALOGUE if key in found] + [
        key for key in found if key not in CATALOGUE
    ]:
        pair = pairs.setdefault(_SIDES.sub("", key), _Pair())
        if send.get(key) is not None:
            pair.sent = key, send[key]
        if receive.get(key) is not None:
            pair.received = key, receive[key]
    measured_pairs = {name: pair for name, pair in pairs.items() if pair.values}
    telling = {name: pair for name, pair in measured_pairs.items() if pair.tells}
    zero = {name: pair for name, pair in measured_pairs.items() if not pair.tells}
    parts = [_metrics_table(f"Metrics of {title}", telling)]
    if zero:
        label = f"{len(zero)} more that are zero"
        table = _metrics_table(f"Metrics of {title} that are zero", zero)
        parts.append(element("details", element("summary", label), table))
    return joined(parts)


def _metrics_table(label: str, pairs: Mapping[str, _Pair]) -> Markup:
    heads = (element("th", name, scope="col") for name in ("Metric", "Sent", "Received", "Limits"))
    return _scrolled(
        label,
        element(
            "table",
            element("thead", element("tr", *heads)),
            element("tbody", *(_metric_row(name, pair) for name, pair in pairs.items())),
            class_="metrics",
        ),
    )


def _metric_row(name: str, pair: _Pair) -> Markup:
    metric = next((CATALOGUE[key] for key, _ in pair.values if key in CATALOGUE), None)
    about = None
    if metric is not None:
        words = metric.description
        if name != metric.key:
            words = re.sub(r" (sent|received)\b", "", words)
        about = element("span", words, class_="about")
    return element(
        "tr",
        element("th", element("span", label_of(name)), about, scope="row"),
        _metric_cell("Sent", pair.sent),
        _metric_cell("Received", pair.received),
        element("td", _limits(metric), class_="limits"),
    )


def _metric_cell(side: str, measured: tuple[str, Value] | None) -> Markup:
    if measured is None:
        return element("td")
    key, value = measured
    return element("td", figure(key, value), grade_mark(key, value), data_side=side)


def _limits(metric: Metric | None) -> str:
    if metric is None or metric.thresholds is None:
        return ""
    limits, unit = metric.thresholds, metric.unit if metric.unit in {"ms", "%"} else ""
    good, bad = ("from", "below") if metric.inverted else ("up to", "above")
    return f"good {good} {limits.warning:g}, bad {bad} {limits.critical:g} {unit}".rstrip()


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
