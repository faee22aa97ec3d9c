"""RFC 7983 section 7 and RFC 5761 section 4, every octet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from callmeter.rtp.demux import PacketKind, classify, classify_batch

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "demux_rfc7983.json").read_text(encoding="utf-8")
)
KINDS = {
    "stun": PacketKind.STUN,
    "drop": PacketKind.DROP,
    "zrtp": PacketKind.ZRTP,
    "dtls": PacketKind.DTLS,
    "turn-channel": PacketKind.TURN_CHANNEL,
    "rtp": PacketKind.RTP,
    "rtcp": PacketKind.RTCP,
}
MEDIA = "rtp-or-rtcp"


def kind_of(first, second):
    by_first = VECTORS["first_octet"][first]
    return KINDS[VECTORS["rtcp_mux_second_octet"][second] if by_first == MEDIA else by_first]


@pytest.mark.parametrize("first", range(256))
def test_first_and_second_octet_decide_the_kind(first):
    expected = [kind_of(first, second) for second in range(256)]
    assert [classify(bytes([first, second]) + bytes(30)) for second in range(256)] == expected
    seconds = np.arange(256).astype(np.uint8)
    assert classify_batch(np.full(256, first, np.uint8), seconds).tolist() == expected


def test_classification_never_raises_on_a_datagram_of_0_or_1_octets():
    assert classify(b"") is PacketKind.DROP
    assert {classify(bytes([octet])) for octet in range(256)} == {PacketKind.DROP}
