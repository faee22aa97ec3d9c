"""What is refused before it can be sent."""

from __future__ import annotations

import pytest

from callmeter.errors import ConfigurationError
from callmeter.media import StreamParameters


def parameters(**changes):
    values = {"codec": "PCMU", "payload_type": 0, "remote": ("192.0.2.1", 4000)}
    return StreamParameters(**values | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"codec": "opus"},
        {"clock_rate": 16_000},
        {"codec": "G722", "clock_rate": 16_000},
        {"ptime_ms": 0},
        {"ptime_ms": 21},
        {"ptime_ms": 125},
        {"payload_type": 128},
        {"payload_type": -1},
        {"receive_payload_types": {300: "PCMU"}},
        {"receive_payload_types": {8: "G729"}},
        {"remote": ("192.0.2.1", 65_536)},
        {"remote_rtcp": ("192.0.2.1", -1)},
    ],
)
def test_what_cannot_be_sent_is_refused(changes):
    with pytest.raises(ConfigurationError):
        parameters(**changes)


def test_rtcp_goes_where_it_was_signalled_or_where_the_rfcs_say():
    assert parameters().rtcp_destination == ("192.0.2.1", 4001)
    assert parameters(rtcp_mux=True).rtcp_destination == ("192.0.2.1", 4000)
    assert parameters(remote_rtcp=("192.0.2.9", 7)).rtcp_destination == ("192.0.2.9", 7)
    assert parameters(remote=("192.0.2.1", 65_535)).rtcp_destination[1] == 65_535


def test_what_is_sent_may_arrive_unless_more_was_agreed():
    assert parameters().accepted == {0: "PCMU"}
    types = {0: "PCMU", 8: "PCMA"}
    assert parameters(receive_payload_types=types).accepted == types
    assert parameters(ptime_ms=30).samples_per_frame == 240
