"""The one list of metrics: key, unit, kind, direction, source, thresholds.

Reports, exports and documentation read it. A verified key is published and never changes;
thresholds are defaults.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from callmeter.metrics.metric import Direction, Grade, Kind, Metric, Scope, Thresholds

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CATALOGUE",
    "Direction",
    "Grade",
    "Kind",
    "Metric",
    "Scope",
    "Thresholds",
    "call_keys",
    "stream_keys",
]


def _stream(
    key: str,
    unit: str,
    kind: Kind,
    direction: Direction,
    rfc: str,
    description: str,
    limits: tuple[float, float] | None = None,
    *,
    inverted: bool = False,
    verified: bool = True,
) -> Metric:
    return Metric(
        key=key,
        unit=unit,
        kind=kind,
        direction=direction,
        scope=Scope.STREAM,
        rfc=rfc,
        description=description,
        thresholds=None if limits is None else Thresholds(*limits),
        inverted=inverted,
        verified=verified,
    )


def _call(
    key: str,
    unit: str,
    kind: Kind,
    rfc: str,
    description: str,
    limits: tuple[float, float] | None = None,
    *,
    direction: Direction = Direction.BOTH,
    verified: bool = True,
) -> Metric:
    return Metric(
        key=key,
        unit=unit,
        kind=kind,
        direction=direction,
        scope=Scope.CALL,
        rfc=rfc,
        description=description,
        thresholds=None if limits is None else Thresholds(*limits),
        verified=verified,
    )


_COUNTER, _GAUGE, _ONE_SHOT, _PER_CALL = Kind.COUNTER, Kind.GAUGE, Kind.ONE_SHOT, Kind.PER_CALL
_SEND, _RECEIVE, _BOTH = Direction.SEND, Direction.RECEIVE, Direction.BOTH
_RTP = "RFC 3550"
_REPORTS = "RFC 3550 section 6.4.1"

_QUALITY = (
    _stream(
        "mos",
        "1-5",
        _GAUGE,
        _BOTH,
        "ITU-T G.107 annex B",
        "Mean opinion score, 1 to 4.5, by the E-model from loss, jitter and round trip.",
        (3.5, 2.5),
        inverted=True,
    ),
    _stream(
        "r_factor",
        "0-100",
        _GAUGE,
        _BOTH,
        "ITU-T G.107",
        "Transmission rating, 0 to 100, of which the score is made.",
        (70, 60),
        inverted=True,
    ),
    _stream(
        "jitter_ms",
        "ms",
        _GAUGE,
        _BOTH,
        _REPORTS,
        "Interarrival jitter; sent streams: as the peer reported it.",
        (20, 40),
    ),
    _stream(
        "rtt_ms",
        "ms",
        _GAUGE,
        _BOTH,
        _REPORTS,
        "Round-trip time by sender and receiver reports.",
        (200, 400),
    ),
    _stream(
        "packets_lost",
        "packets",
        _COUNTER,
        _BOTH,
        _REPORTS,
        "Packets that never came; sent streams: as the peer reported it.",
    ),
    _stream(
        "fraction_lost",
        "%",
        _GAUGE,
        _BOTH,
        _REPORTS,
        "Share of the expected packets that were lost.",
        (1, 5),
    ),
    _stream(
        "timestamp_jumps",
        "count",
        _COUNTER,
        _RECEIVE,
        _RTP,
        "Timestamps that left real time by more than a second.",
    ),
    _stream(
        "ssrc_switches",
        "count",
        _COUNTER,
        _RECEIVE,
        "RFC 3550 section 8.2",
        "Changes of the synchronisation source.",
        (0, 1),
    ),
    _stream(
        "srtp_decrypt_failures",
        "count",
        _COUNTER,
        _RECEIVE,
        "RFC 3711",
        "Packets that failed authentication or decryption; 0 on clear calls.",
        (0, 5),
    ),
    _stream(
        "rtcp_sr_rr_interval_ms",
        "ms",
        _GAUGE,
        _BOTH,
        "RFC 3550 section 6.2",
        "Time between the last two reports of the peer; 5000 is nominal.",
    ),
)

_NETWORK = (
    _stream("packets_sent", "packets", _COUNTER, _SEND, _RTP, "RTP packets sent."),
    _stream("packets_received", "packets", _COUNTER, _RECEIVE, _RTP, "RTP packets received."),
    _stream("bytes_sent", "bytes", _COUNTER, _SEND, _RTP, "Payload octets sent."),
    _stream("bytes_received", "bytes", _COUNTER, _RECEIVE, _RTP, "Payload octets received."),
    _stream("packets_sent_rate_ps", "pps", _GAUGE, _SEND, _RTP, "Packets sent a second."),
    _stream("packets_recv_rate_ps", "pps", _GAUGE, _RECEIVE, _RTP, "Packets received a second."),
    _stream("bytes_sent_rate_bps", "bit/s", _GAUGE, _SEND, _RTP, "Payload bits sent a second."),
    _stream(
        "bytes_recv_rate_bps", "bit/s", _GAUGE, _RECEIVE, _RTP, "Payload bits received a second."
    ),
    _stream(
        "duplicate_packets",
        "packets",
        _COUNTER,
        _RECEIVE,
        _RTP,
        "Packets that came again.",
    ),
    _stream(
        "out_of_order_packets",
        "packets",
        _COUNTER,
        _RECEIVE,
        _RTP,
        "Packets behind the highest sequence number.",
    ),
    _stream(
        "sequence_number_resets",
        "count",
        _COUNTER,
        _RECEIVE,
        _RTP,
        "Sudden returns to low sequence numbers; a 16-bit wrap is none.",
    ),
    _stream(
        "sequence_number_gaps",
        "packets",
        _GAUGE,
        _RECEIVE,
        _RTP,
        "Longest run of missing sequence numbers.",
        (1, 4),
    ),
    _stream(
        "sequence_number_jumps",
        "count",
        _COUNTER,
        _RECEIVE,
        _RTP,
        "Leaps forward by hundreds or more, not counted as loss.",
    ),
    _stream(
        "avg_packet_spacing",
        "ms",
        _GAUGE,
        _RECEIVE,
        "",
        "Mean time between packets in two seconds.",
    ),
    _stream(
        "min_packet_spacing",
        "ms",
        _GAUGE,
        _RECEIVE,
        "",
        "Least time between packets in two seconds.",
    ),
    _stream(
        "max_packet_spacing",
        "ms",
        _GAUGE,
        _RECEIVE,
        "",
        "Greatest time between packets in two seconds.",
        verified=False,
    ),
    _stream(
        "audio_packetization_ms",
        "ms",
        _PER_CALL,
        _BOTH,
        "RFC 8866 section 6.4",
        "Packet time by a=ptime; 20 is usual.",
    ),
)

_FEEDBACK = (
    _stream(
        "nack_count",
        "count",
        _COUNTER,
        _BOTH,
        "RFC 4585 section 6.2.1",
        "Generic NACKs about the stream: sent to its sender; of sent streams, received.",
        verified=False,
    ),
    _stream(
        "pli_count",
        "count",
        _COUNTER,
        _BOTH,
        "RFC 4585 section 6.3.1",
        "Picture loss indications about the stream: sent; of sent streams, received.",
        verified=False,
    ),
    _stream(
        "fir_count",
        "count",
        _COUNTER,
        _BOTH,
        "RFC 5104 section 4.3.1",
        "Full intra requests about the stream: sent; of sent streams, received.",
        verified=False,
    ),
    _stream(
        "sli_count",
        "count",
        _COUNTER,
        _BOTH,
        "RFC 4585 section 6.3.2",
        "Slice loss indications about the stream: sent; of sent streams, received.",
        verified=False,
    ),
)

_JITTER_BUFFER = tuple(
    _stream(f"jitter_buffer_{name}", unit, kind, _RECEIVE, "", description, verified=False)
    for name, unit, kind, description in (
        ("target_delay_ms", "ms", _GAUGE, "What the jitter buffer aims at."),
        ("current_delay_ms", "ms", _GAUGE, "How long the last packet in time waited."),
        ("average_jitter_ms", "ms", _GAUGE, "Moving mean jitter of the packets in time."),
        ("pushed", "packets", _COUNTER, "Packets that were there at their moment."),
        ("lost", "packets", _COUNTER, "Numbers that were not; late packets are among them."),
        ("late", "packets", _COUNTER, "Packets that came after their moment."),
        ("early", "packets", _COUNTER, "Packets the buffer had no room for."),
        ("duplicates", "packets", _COUNTER, "Packets that were waiting already."),
        ("restarts", "count", _COUNTER, "New beginnings: another source, or a jump."),
        ("rtx_requests", "count", _COUNTER, "Retransmissions asked for: none."),
        ("rtx_success", "count", _COUNTER, "Retransmissions that came in time: none."),
    )
)

_OWN = (
    _stream(
        "srtp_replayed",
        "packets",
        _COUNTER,
        _RECEIVE,
        "RFC 3711 section 3.3.2",
        "SRTP packets that came again, or too late for the replay window.",
        verified=False,
    ),
    _stream(
        "srtp_old_key_packets",
        "packets",
        _COUNTER,
        _RECEIVE,
        "RFC 4568",
        "Packets under the previous key after a rekey.",
        verified=False,
    ),
    _stream(
        "srtp_early_packets",
        "packets",
        _COUNTER,
        _RECEIVE,
        "RFC 4568",
        "Packets under a new key that came before it was known; kept, none is lost.",
        verified=False,
    ),
    _stream(
        "srtp_roc_kept",
        "count",
        _COUNTER,
        _RECEIVE,
        "RFC 3711 section 3.3.1",
        "New keys under which the peer's rollover counter went on.",
        verified=False,
    ),
    _stream(
        "srtp_roc_resets",
        "count",
        _COUNTER,
        _RECEIVE,
        "RFC 3711 section 3.3.1",
        "Changes of the peer's rollover counter under a key that stayed.",
        verified=False,
    ),
    _stream(
        "srtp_protect_failures",
        "packets",
        _COUNTER,
        _SEND,
        "RFC 3711",
        "Packets that could not be protected, and so were not sent.",
        verified=False,
    ),
    _stream(
        "rtcp_packets_sent",
        "packets",
        _COUNTER,
        _SEND,
        _RTP,
        "Compound RTCP packets sent.",
        verified=False,
    ),
    _stream(
        "rtcp_packets_received",
        "packets",
        _COUNTER,
        _RECEIVE,
        _RTP,
        "Compound RTCP packets received.",
        verified=False,
    ),
    _stream(
        "late_ticks",
        "ticks",
        _COUNTER,
        _SEND,
        "",
        "Own media ticks more than 5 ms late: what the peer measures as jitter may be ours.",
        verified=False,
    ),
    _stream(
        "socket_overflows",
        "packets",
        _COUNTER,
        _RECEIVE,
        "",
        "Datagrams the system dropped because they were not fetched in time.",
        (0, 0),
        verified=False,
    ),
    _stream(
        "audio_level_rms",
        "dBov",
        _GAUGE,
        _RECEIVE,
        "RFC 6464 section 3",
        "Mean level of what was heard so far; below -50 is silence.",
        verified=False,
    ),
)

_TIMING = (
    _call(
        "time_to_trying_ms",
        "ms",
        _ONE_SHOT,
        "RFC 3261",
        "INVITE to the first response.",
        (100, 500),
        verified=False,
    ),
    _call(
        "post_dial_delay_ms",
        "ms",
        _ONE_SHOT,
        "RFC 6076 section 4.3.1",
        "INVITE to ringing, or to early media.",
        (3000, 8000),
        verified=False,
    ),
    _call(
        "call_setup_time_ms",
        "ms",
        _ONE_SHOT,
        "RFC 6076",
        "INVITE to the 200.",
        verified=False,
    ),
    _call(
        "time_to_first_media_ms",
        "ms",
        _ONE_SHOT,
        "",
        "200 to the first media packet, keys and NAT included.",
        verified=False,
    ),
    _call("call_duration_ms", "ms", _ONE_SHOT, "RFC 6076", "200 to the BYE.", verified=False),
    _call(
        "final_status_code",
        "SIP code",
        _ONE_SHOT,
        "RFC 3261 section 21",
        "The last definitive response.",
        verified=False,
    ),
    _call(
        "call_result", "", _ONE_SHOT, "RFC 3261 section 21", "What became of it.", verified=False
    ),
)

_COUNTERS = (
    _call("hold_count", "count", _COUNTER, "RFC 3264 section 8.4", "Changes to hold."),
    _call(
        "total_hold_duration_ms",
        "ms",
        _COUNTER,
        "RFC 3264 section 8.4",
        "Time on hold, summed.",
    ),
    _call(
        "session_timer_refreshes",
        "count",
        _COUNTER,
        "RFC 4028",
        "Session refreshes by re-INVITE or UPDATE.",
    ),
    _call(
        "dtls_rehandshakes",
        "count",
        _COUNTER,
        "RFC 5764",
        "Completed DTLS handshakes after the first.",
        (0, 1),
    ),
    _call(
        "ice_restarts",
        "count",
        _COUNTER,
        "RFC 8445 section 9",
        "New ICE credentials within the call.",
        (0, 1),
    ),
    _call(
        "rekeys_sent",
        "count",
        _COUNTER,
        "RFC 4568 section 7.1.4",
        "New media keys asked for by this end and agreed to.",
        direction=_SEND,
        verified=False,
    ),
    _call(
        "rekeys_received",
        "count",
        _COUNTER,
        "RFC 4568 section 7.1.4",
        "New media keys asked for by the peer.",
        direction=_RECEIVE,
        verified=False,
    ),
    _call(
        "dtmf_digits_sent",
        "count",
        _COUNTER,
        "RFC 4733",
        "Digits sent, as telephone events or by INFO.",
        direction=_SEND,
    ),
    _call(
        "dtmf_digits_received",
        "count",
        _COUNTER,
        "RFC 4733",
        "Digits received, as telephone events or by INFO.",
        direction=_RECEIVE,
        verified=False,
    ),
    _call("dtmf_method", "", _PER_CALL, "RFC 4733", "rtp, info or both."),
    _call(
        "scenario_actions_executed",
        "count",
        _COUNTER,
        "",
        "Actions of a scenario that were done.",
        verified=False,
    ),
    _call(
        "scenario_actions_failed",
        "count",
        _COUNTER,
        "",
        "Actions of a scenario that were refused, timed out, or came too late.",
    ),
)

CATALOGUE: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        metric.key: metric
        for metric in (
            *_NETWORK,
            *_QUALITY,
            *_FEEDBACK,
            *_JITTER_BUFFER,
            *_OWN,
            *_TIMING,
            *_COUNTERS,
        )
    }
)
"""All metrics by key, in the order of reports."""


def stream_keys(direction: Direction) -> tuple[str, ...]:
    """Keys of one side of a stream, in catalogue order."""
    return tuple(
        metric.key
        for metric in CATALOGUE.values()
        if metric.scope is Scope.STREAM and metric.direction in {direction, Direction.BOTH}
    )


def call_keys(kind: Kind | None = None) -> tuple[str, ...]:
    """Keys of a call, of one kind or of all, in catalogue order."""
    return tuple(
        metric.key
        for metric in CATALOGUE.values()
        if metric.scope is Scope.CALL and kind in {None, metric.kind}
    )
