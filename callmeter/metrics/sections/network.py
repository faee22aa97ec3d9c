"""What went over the network: packets, octets, rates, order."""

from __future__ import annotations

from typing import Final

from callmeter.metrics.sections.row import (
    BOTH,
    COUNTER,
    GAUGE,
    PER_CALL,
    RECEIVE,
    RTP,
    SEND,
    stream,
)

__all__ = ["NETWORK"]

NETWORK: Final = (
    stream("packets_sent", "packets", COUNTER, SEND, RTP, "RTP packets sent."),
    stream("packets_received", "packets", COUNTER, RECEIVE, RTP, "RTP packets received."),
    stream("bytes_sent", "bytes", COUNTER, SEND, RTP, "Payload octets sent."),
    stream("bytes_received", "bytes", COUNTER, RECEIVE, RTP, "Payload octets received."),
    stream("packets_sent_rate_ps", "pps", GAUGE, SEND, RTP, "Packets sent a second."),
    stream("packets_recv_rate_ps", "pps", GAUGE, RECEIVE, RTP, "Packets received a second."),
    stream("bytes_sent_rate_bps", "bit/s", GAUGE, SEND, RTP, "Payload bits sent a second."),
    stream("bytes_recv_rate_bps", "bit/s", GAUGE, RECEIVE, RTP, "Payload bits received a second."),
    stream(
        "duplicate_packets",
        "packets",
        COUNTER,
        RECEIVE,
        RTP,
        "Packets that came again.",
    ),
    stream(
        "out_of_order_packets",
        "packets",
        COUNTER,
        RECEIVE,
        RTP,
        "Packets behind the highest sequence number.",
    ),
    stream(
        "sequence_number_resets",
        "count",
        COUNTER,
        RECEIVE,
        RTP,
        "Sudden returns to low sequence numbers; a 16-bit wrap is none.",
    ),
    stream(
        "sequence_number_gaps",
        "packets",
        GAUGE,
        RECEIVE,
        RTP,
        "Longest run of missing sequence numbers.",
        (1, 4),
    ),
    stream(
        "sequence_number_jumps",
        "count",
        COUNTER,
        RECEIVE,
        RTP,
        "Leaps forward by hundreds or more, not counted as loss.",
    ),
    stream(
        "avg_packet_spacing",
        "ms",
        GAUGE,
        RECEIVE,
        "",
        "Mean time between packets in two seconds.",
    ),
    stream(
        "min_packet_spacing",
        "ms",
        GAUGE,
        RECEIVE,
        "",
        "Least time between packets in two seconds.",
    ),
    stream(
        "max_packet_spacing",
        "ms",
        GAUGE,
        RECEIVE,
        "",
        "Greatest time between packets in two seconds.",
        verified=False,
    ),
    stream(
        "audio_packetization_ms",
        "ms",
        PER_CALL,
        BOTH,
        "RFC 8866 section 6.4",
        "Packet time by a=ptime of who receives it; 20 is usual.",
    ),
)
