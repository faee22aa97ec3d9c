"""RFC 4475 messages whose point is the transaction layer."""

from __future__ import annotations

from pathlib import Path

import pytest

from callmeter.config import TimerConfig
from callmeter.sip.parser import parse_message
from callmeter.sip.transaction import Deliver, Hop, TransactionLayer

VECTORS = Path(__file__).parent.parent / "vectors" / "rfc4475"
SOURCE = Hop("UDP", "192.0.2.1", 5060)


@pytest.fixture
def layer():
    return TransactionLayer(TimerConfig(), lambda octets: bytes(range(octets)))


def message(name, *replacements):
    data = (VECTORS / f"{name}.dat").read_bytes()
    for old, new in replacements:
        assert old in data
        data = data.replace(old, new)
    return parse_message(data)


def test_badbranch_a_bare_cookie_is_no_transaction_identifier(layer):
    first = message("badbranch")
    other = message("badbranch", (b"badbranch.", b"another."))
    assert layer.on_message(first, SOURCE, 0.0) == [
        Deliver(next(iter(layer._servers)), first),
    ]
    assert isinstance(layer.on_message(other, SOURCE, 0.1)[0], Deliver)
    assert layer.on_message(message("badbranch"), SOURCE, 0.2) == []
    assert len(layer) == 2


def test_bcast_a_response_that_was_broadcast_to_us_is_dropped(layer):
    assert layer.on_message(message("bcast"), SOURCE, 0.0) == []
    assert layer.counters.stray_responses == 1


def test_inv2543_an_old_invite_and_its_ack_share_a_transaction(layer):
    (delivered,) = layer.on_message(message("inv2543"), SOURCE, 0.0)
    assert layer.on_message(message("inv2543"), SOURCE, 0.1) == []
    busy = delivered.message.create_response(486, to_tag="bob")
    layer.respond(delivered.key, busy, 0.15)
    ack = message("inv2543", (b"INVITE ", b"ACK "), (b" INVITE", b" ACK"))
    ack.headers.set("To", busy.headers.get("To"))
    assert layer.on_message(ack, SOURCE, 0.2) == []
    assert layer.next_deadline() == pytest.approx(5.2)
