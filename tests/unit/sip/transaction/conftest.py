"""Messages and hops for transactions, without a network."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from callmeter.config import TimerConfig
from callmeter.sip.message import Request
from callmeter.sip.timers import TimerValues
from callmeter.sip.transaction import Hop

if TYPE_CHECKING:
    from collections.abc import Callable

COOKIE = "z9hG4bK"


@pytest.fixture
def entropy() -> Callable[[int], bytes]:
    """Octets that never repeat."""
    numbers = count(1)
    return lambda octets: (next(numbers) % 256**octets).to_bytes(octets, "big")


@pytest.fixture
def datagrams() -> TimerValues:
    return TimerValues.of(TimerConfig(), reliable=False)


@pytest.fixture
def streams() -> TimerValues:
    return TimerValues.of(TimerConfig(), reliable=True)


@pytest.fixture
def hop() -> Hop:
    return Hop("UDP", "192.0.2.2", 5060)


@pytest.fixture
def make_request() -> Callable[..., Request]:
    def make(
        method: str = "INVITE",
        *,
        via: str | None = f"SIP/2.0/UDP 192.0.2.1:5060;branch={COOKIE}one;rport",
        uri: str = "sip:bob@example.com",
        from_tag: str | None = "alice",
        to_tag: str | None = None,
        call_id: str = "call-1",
        number: int = 1,
        extra: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
    ) -> Request:
        from_params = f";tag={from_tag}" if from_tag else ""
        to_params = f";tag={to_tag}" if to_tag else ""
        lines = [("Via", via)] if via else []
        lines += [
            ("Max-Forwards", "70"),
            ("From", f"Alice <sip:alice@example.com>{from_params}"),
            ("To", f"<sip:bob@example.com>{to_params}"),
            ("Call-ID", call_id),
            ("CSeq", f"{number} {method}"),
            *extra,
        ]
        return Request(method, uri, lines, body)

    return make


@pytest.fixture
def invite(make_request: Callable[..., Request]) -> Request:
    return make_request()


@pytest.fixture
def options(make_request: Callable[..., Request]) -> Request:
    return make_request("OPTIONS")
