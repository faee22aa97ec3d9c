"""Transactions: RFC 3261 section 17 as amended by RFC 4320 and RFC 6026."""

from __future__ import annotations

from callmeter.sip.transaction.effects import (
    Deliver,
    Effect,
    Hop,
    Send,
    Terminated,
    TimedOut,
    TransportFailed,
)
from callmeter.sip.transaction.key import Key
from callmeter.sip.transaction.layer import TransactionCounters, TransactionLayer

__all__ = [
    "Deliver",
    "Effect",
    "Hop",
    "Key",
    "Send",
    "Terminated",
    "TimedOut",
    "TransactionCounters",
    "TransactionLayer",
    "TransportFailed",
]
