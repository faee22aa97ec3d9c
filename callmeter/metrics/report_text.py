"""A call report for people: a few aligned lines for a terminal, plain characters only."""

from __future__ import annotations

from itertools import zip_longest
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from callmeter.metrics.catalogue import CATALOGUE, Grade

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callmeter.metrics.report import CallReport, Finding, SignalingReport, StreamReport, Value

__all__ = ["amount", "counted", "report_text"]

_LABEL: Final = 13
_COLUMN: Final = 16
_WIDTH: Final = 84
"""Characters of a finding in a line, beside its label."""
_BAD: Final = frozenset({"warn", "fail"})
_LONG_MS: Final = 10_000
_MARKS: Final = {Grade.WARNING: " !", Grade.CRITICAL: " !!"}

_ALWAYS: Final = (
    ("packets", "packets_sent", "packets_received"),
    ("payload", "bytes_sent", "bytes_received"),
    ("packet rate", "packets_sent_rate_ps", "packets_recv_rate_ps"),
    ("bit rate", "bytes_sent_rate_bps", "bytes_recv_rate_bps"),
    ("lost", "packets_lost", "packets_lost"),
    ("loss", "fraction_lost", "fraction_lost"),
    ("jitter", "jitter_ms", "jitter_ms"),
    ("round trip", "rtt_ms", "rtt_ms"),
    ("spacing, mean", "", "avg_packet_spacing"),
    ("spacing, min", "", "min_packet_spacing"),
    ("spacing, max", "", "max_packet_spacing"),
    ("level", "", "audio_level_rms"),
)
"""Label, key of the sent side, key of the received side; left out where neither has a value."""
_IF_ANY: Final = (
    ("frames", "frames_sent", "frames_received"),
    ("key frames", "keyframes_sent", "keyframes_received"),
    ("frame rate", "frame_rate_fps", "frame_rate_fps"),
    ("picture", "resolution_megapixels", "resolution_megapixels"),
    ("freezes", "", "freeze_count"),
    ("frozen", "", "freeze_duration_ms"),
    ("NACK", "nack_count", "nack_count"),
    ("PLI", "pli_count", "pli_count"),
    ("FIR", "fir_count", "fir_count"),
    ("longest gap", "", "sequence_number_gaps"),
    ("duplicates", "", "duplicate_packets"),
    ("out of order", "", "out_of_order_packets"),
    ("resets", "", "sequence_number_resets"),
    ("jumps", "", "sequence_number_jumps"),
    ("time jumps", "", "timestamp_jumps"),
    ("SSRC switches", "", "ssrc_switches"),
    ("undecryptable", "srtp_protect_failures", "srtp_decrypt_failures"),
    ("replayed", "", "srtp_replayed"),
    ("old key", "", "srtp_old_key_packets"),
    ("overflows", "", "socket_overflows"),
)
"""The same, left out where neither is above zero."""
_TIMINGS: Final = (
    ("trying {}", "time_to_trying_ms"),
    ("ringing {}", "post_dial_delay_ms"),
    ("answered {}", "call_setup_time_ms"),
    ("first media {} later", "time_to_first_media_ms"),
    ("talk time {}", "call_duration_ms"),
)


def report_text(report: CallReport) -> str:
    """The report as lines of text, without a newline at the end."""
    return "\n".join(_lines(report))


def _lines(report: CallReport) -> Iterator[str]:
    outcome = "in progress" if report.outcome is None else report.outcome.value
    failed = sum(finding.status.value == "fail" for finding in report.diagnosis)
    if failed:
        outcome += f", {counted(failed, 'check')} failed"
    yield f"Call with {report.party}: {outcome}" if report.party else f"Call: {outcome}"
    yield _line("result", _result(report))
    if report.error is not None:
        yield _line("error", f"{report.error.type}: {report.error.message}")
    yield _line("signalling", _signaling(report.signaling))
    timing = report.timing.metrics()
    known = [
        words.format(amount(key, timing[key])) for words, key in _TIMINGS if timing[key] is not None
    ]
    if known:
        yield _line("timing", ", ".join(known))
    for stream in report.media:
        yield from _stream(stream)
    counters = [
        f"{key.removesuffix('_ms').replace('_', ' ')} {amount(key, value)}"
        for key, value in report.counters.items()
        if value
    ]
    if counters:
        yield _line("counters", ", ".join(counters))
    for finding in report.diagnosis:
        if finding.status.value in _BAD:
            yield from _finding(finding)


def _finding(finding: Finding) -> Iterator[str]:
    """What is wrong, and below it what to do, in lines that fit a terminal."""
    detail = f": {finding.detail}" if finding.detail else ""
    lines = wrap(f"{finding.check}{detail}", _WIDTH)
    lines += wrap(finding.remedy, _WIDTH, initial_indent="-> ", subsequent_indent="   ")
    for line, label in zip_longest(lines, [finding.status.value.upper()], fillvalue=""):
        yield _line(label, line)


def _line(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}} {text}"


def _result(report: CallReport) -> str:
    result = report.call_result
    words = "no final response" if result is None else f"{result} ({report.final_status_code})"
    return f"{words}, phase {report.phase.name}"


def _signaling(signaling: SignalingReport) -> str:
    if not signaling.transport:
        return "nothing was sent"
    path = f"{signaling.transport} {signaling.local} -> {signaling.remote}".strip()
    if signaling.tls is None:
        return f"{path}, not secure"
    trust = "verified" if signaling.tls.verified else "certificate NOT verified"
    if not signaling.tls.certificate:
        trust = "the peer showed no certificate"
    return f"{path}, secure: {signaling.tls.version} {signaling.tls.cipher}, {trust}"


def _stream(stream: StreamReport) -> Iterator[str]:
    yield _line(
        stream.kind,
        f"{stream.codec} {stream.direction}, {stream.local} <-> {stream.remote}",
    )
    if stream.source not in {None, stream.remote}:
        yield _line("", f"media came from {stream.source}")
    profile = (
        f"{stream.profile}, RTCP {'on the RTP port' if stream.rtcp_mux else 'on its own port'}"
    )
    if stream.secure:
        yield _line("security", f"SECURE: {stream.keying.upper()} {stream.suite} ({profile})")
    else:
        yield _line("security", f"NOT SECURE: plain RTP ({profile})")
    yield _line("", f"{'sent':>{_COLUMN - 2}}  {'received':>{_COLUMN - 2}}").rstrip()
    for label, sent, received in _ALWAYS:
        values = stream.send.get(sent), stream.receive.get(received)
        if values != (None, None):
            yield _row(label, sent, received, values)
    for label, sent, received in _IF_ANY:
        values = stream.send.get(sent), stream.receive.get(received)
        if any(values):
            yield _row(label, sent, received, values)
    if stream.kind == "video" and stream.receive.get("frames_received") == 0:
        yield _line("", "no whole frame came")


def _row(label: str, sent: str, received: str, values: tuple[Value, Value]) -> str:
    cells = "".join(
        f"{amount(key, value):>{_COLUMN - 2}}{_mark(key, value):<2}"
        for key, value in zip((sent, received), values, strict=True)
    )
    return _line(label, cells).rstrip()


def _mark(key: str, value: Value) -> str:
    if value is None or isinstance(value, str):
        return ""
    return _MARKS.get(CATALOGUE[key].grade(value), "")


def counted(number: int, noun: str) -> str:
    """`"1 packet"`, `"2 packets"`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def amount(key: str, value: Value) -> str:
    """A value with its unit, in the length a column has room for."""
    if value is None:
        return "-" if key else ""
    if isinstance(value, str):
        return value
    unit = CATALOGUE[key].unit if key in CATALOGUE else ""
    match unit:
        case "ms":
            return f"{value / 1000:.1f} s" if value >= _LONG_MS else f"{value:.1f} ms"
        case "%":
            return f"{value:.2f} %"
        case "bytes":
            return f"{value / 1000:,.1f} kB"
        case "bit/s":
            return f"{value / 1000:,.1f} kbit/s"
        case "dBov":
            return f"{value:.0f} dBov"
        case "pps" | "fps":
            return f"{value:.1f} /s"
        case "megapixels":
            return f"{value:.2f} MP"
        case _:
            return f"{value:,}"
