"""The timers of RFC 3261 section 17 (table 4) and RFC 6026, as one row of values per transport.

A machine never asks which transport it runs on: over a stream the retransmission timers are
infinite and the lingering ones zero, so the same few lines serve both.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from callmeter.config import TimerConfig

__all__ = ["NEVER", "TRYING_DELAY", "TimerValues", "backoff"]

NEVER = inf
"""The deadline of a timer that does not run."""

TRYING_DELAY = 0.2
"""An INVITE that the TU left unanswered this long gets a 100 (RFC 3261 section 17.2.1)."""


def backoff(interval: float, ceiling: float = NEVER) -> float:
    """The interval that follows `interval`: twice as long, at most `ceiling` seconds."""
    return min(2 * interval, ceiling)


@dataclass(frozen=True, slots=True)
class TimerValues:
    """Durations in seconds of the timers A to M for one kind of transport.

    `NEVER` means the timer does not run, 0 that the state it guards is left at once.

    Attributes:
        t1: Round-trip estimate.
        t2: Longest interval between two retransmissions, other than those of an INVITE.
        t4: Longest time a message stays in the network.
        a: INVITE request retransmission, first interval (doubles).
        b: INVITE client gives up.
        d: Wait for retransmitted final responses to an INVITE.
        e: Other requests' retransmission, first interval (doubles up to T2).
        f: Other client transactions give up.
        g: INVITE final response retransmission, first interval (doubles up to T2).
        h: Wait for the ACK to a final response other than 2xx.
        i: Wait for retransmitted ACKs.
        j: Wait for retransmitted requests other than INVITE.
        k: Wait for retransmitted responses to requests other than INVITE.
        l: Absorb retransmitted INVITEs after a 2xx (RFC 6026 section 7.1).
        m: Pass further 2xx up (RFC 6026 section 7.2).
    """

    t1: float
    t2: float
    t4: float
    a: float
    b: float
    d: float
    e: float
    f: float
    g: float
    h: float
    i: float
    j: float
    k: float
    l: float  # noqa: E741  the letter RFC 6026 chose
    m: float

    @classmethod
    def of(cls, config: TimerConfig, *, reliable: bool) -> Self:
        """Values for a stream (`reliable`) or for datagrams.

        Timer D is 64 times T1: 32 s or more for each T1 that RFC 3261 section 17.1.1.1
        recommends. A shorter T1 is for tests, and they wait shorter.
        """
        t1, t2, t4 = config.t1, config.t2, config.t4
        patience = 64 * t1
        resend = NEVER if reliable else t1
        return cls(
            t1=t1,
            t2=t2,
            t4=t4,
            a=resend,
            b=patience,
            d=0.0 if reliable else patience,
            e=resend,
            f=patience,
            g=resend,
            h=patience,
            i=0.0 if reliable else t4,
            j=0.0 if reliable else patience,
            k=0.0 if reliable else t4,
            l=patience,
            m=patience,
        )
