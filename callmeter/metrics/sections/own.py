"""What only callmeter counts: SRTP, RTCP and sockets."""

from __future__ import annotations

from typing import Final

from callmeter.metrics.sections.row import COUNTER, RECEIVE, RTP, SEND, stream

__all__ = ["OWN"]

OWN: Final = (
    stream(
        "srtp_replayed",
        "packets",
        COUNTER,
        RECEIVE,
        "RFC 3711 section 3.3.2",
        "SRTP packets that came again, or too late for the replay window.",
        verified=False,
    ),
    stream(
        "srtp_old_key_packets",
        "packets",
        COUNTER,
        RECEIVE,
        "RFC 4568",
        "Packets under the previous key after a rekey.",
        verified=False,
    ),
    stream(
        "srtp_early_packets",
        "packets",
        COUNTER,
        RECEIVE,
        "RFC 4568",
        "Packets under a new key that came before it was known; kept, none is lost.",
        verified=False,
    ),
    stream(
        "srtp_roc_kept",
        "count",
        COUNTER,
        RECEIVE,
        "RFC 3711 section 3.3.1",
        "New keys under which the peer's rollover counter went on.",
        verified=False,
    ),
    stream(
        "srtp_roc_resets",
        "count",
        COUNTER,
        RECEIVE,
        "RFC 3711 section 3.3.1",
        "Changes of the peer's rollover counter under a key that stayed.",
        verified=False,
    ),
    stream(
        "srtp_protect_failures",
        "packets",
        COUNTER,
        SEND,
        "RFC 3711",
        "Packets that could not be protected, and so were not sent.",
        verified=False,
    ),
    stream(
        "rtcp_packets_sent",
        "packets",
        COUNTER,
        SEND,
        RTP,
        "Compound RTCP packets sent.",
        verified=False,
    ),
    stream(
        "rtcp_packets_received",
        "packets",
        COUNTER,
        RECEIVE,
        RTP,
        "Compound RTCP packets received.",
        verified=False,
    ),
    stream(
        "late_ticks",
        "ticks",
        COUNTER,
        SEND,
        "",
        "Media ticks of this process more than 5 ms late while the stream was there, the same ones "
        "for each stream: what the peer measures as jitter may be ours.",
        verified=False,
    ),
    stream(
        "socket_overflows",
        "packets",
        COUNTER,
        RECEIVE,
        "",
        "Datagrams the system dropped because they were not fetched in time.",
        (0, 0),
        verified=False,
    ),
)
