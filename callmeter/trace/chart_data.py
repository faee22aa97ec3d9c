"""The course of a stream as charts: which series stand together, and how many points are drawn.

A long series is drawn by the least and the greatest value of each interval, in the order in which
they came: the peaks stay. Words and tables are made of all samples.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any, Final

from callmeter.metrics.catalogue import CATALOGUE, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from callmeter.metrics.metric import Metric

__all__ = [
    "Chart",
    "Line",
    "charts_of",
    "drawn",
    "drawn_times",
    "label_of",
    "never_measured",
    "samples_per_interval",
]

MAX_POINTS: Final = 600
"""Of a series in a chart, a few for each pixel of a screen."""
_DIGITS: Final = 4
"""Significant ones of a drawn value."""
_UNITS: Final = {"pps": "packets/s", "bit/s": "kbit/s", "count": "", "1-5": "", "0-100": ""}
_BOUNDS: Final = {"1-5": (1.0, 5.0), "0-100": (0.0, 100.0)}
_SCALES: Final = {"bit/s": 1e-3}
_GROUPS: Final = (
    ("Jitter", r"jitter_ms"),
    ("Loss", r"fraction_lost"),
    ("MOS", r"mos.*"),
    ("R factor", r"r_factor.*"),
    ("Bit rate", r"bytes_.*_bps"),
    ("Packet rate", r"packets_.*_ps"),
    ("Packet spacing", r".*_packet_spacing"),
    ("Round trip", r"rtt_ms"),
    ("Audio level", r"audio_level.*"),
    ("Security counters", r"(srtp|srtcp|rtcp_in_clear|rtcp_encryption|rtcp_short|dtls).*"),
)
"""Titles in their order, and the keys that stand together; any other key has a chart of its own."""

_NAMES: Final = {
    "audio_level_rms": "Audio level",
    "audio_packetization_ms": "Packet time",
    "avg_packet_spacing": "Mean packet spacing",
    "bytes": "Payload",
    "bytes_rate_bps": "Bit rate",
    "fraction_lost": "Loss",
    "max_packet_spacing": "Greatest packet spacing",
    "min_packet_spacing": "Least packet spacing",
    "packets_rate_ps": "Packet rate",
    "rtcp_sr_rr_interval_ms": "RTCP report interval",
    "rtt_ms": "Round trip",
    "sequence_number_gaps": "Longest gap",
}
"""Keys whose words are not what people say."""
_ACRONYMS: Final = re.compile(
    r"\b(rtt|srtp|srtcp|rtcp|dtls|tls|udp|ssrc|mos|mki|roc|ice|dtmf|nack|pli|fir|sli|rtx|rms)\b"
)

Values = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a chart.

    Attributes:
        key: Its metric.
        side: `"sent"` or `"received"`.
        label: What it is called in the chart.
        values: A value for each moment, in the unit of the chart.
    """

    key: str
    side: str
    label: str
    values: Values

    @property
    def metric(self) -> Metric | None:
        """Its line of the catalogue."""
        return CATALOGUE.get(self.key)


@dataclass(frozen=True, slots=True)
class Chart:
    """Series that are drawn together.

    Attributes:
        title: What they are about.
        unit: Of their values; may be empty.
        scale: What values of the catalogue's unit were multiplied by.
        bounds: The values there can be; None when they have no end.
        times: Seconds since the stream was started.
        lines: Its series.
    """

    title: str
    unit: str
    scale: float
    bounds: tuple[float, float] | None
    times: tuple[float, ...]
    lines: tuple[Line, ...]

    @property
    def limits(self) -> tuple[float, float] | None:
        """Where values are no longer good, and where they are bad.

        A counter has none: its limits are for all of the call, its samples are what was new.
        """
        for line in self.lines:
            metric = line.metric
            if metric is None or metric.thresholds is None or metric.kind is Kind.COUNTER:
                continue
            limits = metric.thresholds
            return limits.warning * self.scale, limits.critical * self.scale
        return None

    @property
    def counts(self) -> bool:
        """Whether its values count what was new in each interval."""
        return all(line.metric and line.metric.kind is Kind.COUNTER for line in self.lines)

    @property
    def inverted(self) -> bool:
        """Whether lower is worse."""
        return any(line.metric is not None and line.metric.inverted for line in self.lines)


def charts_of(series: Mapping[str, Mapping[str, Sequence[float | None]]]) -> list[Chart]:
    """The charts of a stream.

    Args:
        series: As `StreamReport.to_dict()` gives it: by side, then by key, `at_ms` with them.
    """
    times = _all_times(series)
    found: dict[str, list[tuple[str, str, Values]]] = {title: [] for title, _ in _GROUPS}
    for side, name in (("send", "sent"), ("receive", "received")):
        columns = series.get(side, {})
        moments = tuple(columns.get("at_ms", ()))
        for key, values in columns.items():
            if key != "at_ms" and any(value is not None for value in values):
                by_time = dict(zip(moments, values, strict=False))
                course = tuple(by_time.get(moment) for moment in times)
                found.setdefault(_title(key), []).append((key, name, course))
    seconds = tuple(moment / 1000 for moment in times)
    return [_chart(title, lines, seconds) for title, lines in found.items() if lines]


def never_measured(series: Mapping[str, Mapping[str, Sequence[float | None]]]) -> list[str]:
    """What was to be sampled and had no value in all of the call, in words."""
    return [
        f"{label_of(key).lower()} {name}"
        for side, name in (("send", "sent"), ("receive", "received"))
        for key, values in series.get(side, {}).items()
        if key != "at_ms" and values and all(value is None for value in values)
    ]


def samples_per_interval(count: int) -> int:
    """How many samples two points of a drawn series stand for; 1 when each is a point."""
    return 1 if count <= MAX_POINTS else ceil(count / (MAX_POINTS // 2))


def drawn_times(times: Sequence[float]) -> list[float]:
    """Where the points of a drawn series are."""
    step = samples_per_interval(len(times))
    if step == 1:
        return [round(moment, 2) for moment in times]
    points: list[float] = []
    for start in range(0, len(times), step):
        group = times[start : start + step]
        points += [round(group[0], 2), round(group[-1], 2)]
    return points


def drawn(values: Sequence[float | None]) -> list[float | None]:
    """The points of a drawn series: of many, the least and the greatest of each interval."""
    step = samples_per_interval(len(values))
    if step == 1:
        return [_short(value) for value in values]
    points: list[float | None] = []
    for start in range(0, len(values), step):
        known = [value for value in values[start : start + step] if value is not None]
        if not known:
            points += [None, None]
            continue
        ends = [min(known), max(known)]
        if known.index(ends[0]) > known.index(ends[1]):
            ends.reverse()
        points += map(_short, ends)
    return points


def label_of(key: str) -> str:
    """What a metric is called where people read."""
    if key in _NAMES:
        return _NAMES[key]
    words = re.sub(r"_(ms|ps|bps)$", "", key).replace("_", " ").replace("recv", "received")
    words = _ACRONYMS.sub(lambda found: found[0].upper(), words)
    return words[:1].upper() + words[1:]


def _title(key: str) -> str:
    return next((title for title, keys in _GROUPS if re.fullmatch(keys, key)), label_of(key))


def _all_times(series: Mapping[str, Mapping[str, Sequence[float | None]]]) -> tuple[float, ...]:
    moments = {at for side in series.values() for at in side.get("at_ms", ()) if at is not None}
    return tuple(sorted(moments))


def _chart(title: str, found: list[tuple[str, str, Values]], seconds: tuple[float, ...]) -> Chart:
    metric = CATALOGUE.get(found[0][0])
    unit = "" if metric is None else metric.unit
    scale = _SCALES.get(unit, 1.0)
    single = len({side for _, side, _ in found}) == len(found)
    lines = tuple(
        Line(
            key,
            side,
            side.capitalize() if single else f"{label_of(key)}, {side}",
            tuple(None if value is None else value * scale for value in values),
        )
        for key, side, values in found
    )
    return Chart(title, _UNITS.get(unit, unit), scale, _BOUNDS.get(unit), seconds, lines)


def _short(value: float | None) -> Any:
    """A value in few characters."""
    if not value:
        return value if value is None else 0
    short = round(value, _DIGITS - 1 - floor(log10(abs(value))))
    return int(short) if short == int(short) else short
