"""Hostile RTP and RTCP: only the named error leaves, and nothing is read beyond the packet."""

from __future__ import annotations

import random

import pytest

from callmeter.errors import RtcpSyntaxError
from callmeter.rtp.demux import PacketKind, classify
from callmeter.rtp.feedback import (
    FullIntraRequest,
    GenericNack,
    IntraRequest,
    PictureLossIndication,
    SliceLoss,
    SliceLossIndication,
)
from callmeter.rtp.header import header_length, parse_header, payload_bounds
from callmeter.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    UnknownRtcp,
    build_compound,
    parse_rtcp,
)
from callmeter.rtp.telephone_event import EventReceiver
from callmeter.rtp.xr import (
    DelaySinceReference,
    DelaySinceReferences,
    DuplicateRuns,
    ExtendedReport,
    LossRuns,
    ReceiptTimes,
    ReferenceTime,
    StatisticsSummary,
    VoipMetrics,
)

ROUNDS = 20_000
SEEDS = [
    build_compound(
        [
            SenderReport(1, 2, 3, 4, 5, (ReportBlock(6, 7, -8), ReportBlock(9))),
            SourceDescription.cname(1, "alice@example.com"),
            Goodbye((1, 2), b"shift over"),
        ]
    ),
    build_compound([ReceiverReport(1, (ReportBlock(2),)), UnknownRtcp(206, 15, bytes(8))]),
    build_compound(
        [
            ReceiverReport(1),
            GenericNack(1, 2, (3, 4, 19, 40, 65_535, 0)),
            PictureLossIndication(1, 2),
            SliceLossIndication(1, 2, (SliceLoss(3, 4, 5),)),
            FullIntraRequest(1, (IntraRequest(2, 3), IntraRequest(4, 5))),
        ]
    ),
    build_compound([ReceiverReport(1), UnknownRtcp(204, 0, bytes(40))]),
    build_compound(
        [
            ReceiverReport(1),
            ExtendedReport(
                1,
                (
                    LossRuns(2, 3, 900, (0x4010, 0x8001, 0x3FFF)),
                    DuplicateRuns(2, 3, 40, (0xFFFF, 0x4005)),
                    ReceiptTimes(2, 3, 5, (160, 320)),
                    ReferenceTime(6),
                    DelaySinceReferences((DelaySinceReference(2, 3, 4),)),
                    StatisticsSummary(ssrc=2, begin=3, end=9, lost=1, jitter=(1, 2, 3, 4)),
                    VoipMetrics(ssrc=2),
                ),
            ),
        ]
    ),
]


def mutated(seed, chance):
    data = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[place : place + 1] = chance.randbytes(1)
            case 1:
                del data[place : place + chance.randint(1, 8)]
            case 2:
                data[place:place] = chance.randbytes(chance.randint(1, 8))
            case _:
                data[place : place + 1] = bytes([chance.choice((0, 1, 0x7F, 0x80, 0xFF))])
    return bytes(data)


@pytest.mark.parametrize("seed", SEEDS)
def test_only_the_named_error_leaves_the_rtcp_parser(seed):
    chance = random.Random(seed)
    read = 0
    for _ in range(ROUNDS):
        data = mutated(seed, chance)
        try:
            packets = parse_rtcp(data, reduced_size=chance.random() < 0.5)
        except RtcpSyntaxError:
            continue
        read += 1
        assert len(build_compound(packets)) <= len(data)
        for packet in packets:
            for block in getattr(packet, "blocks", ()):
                if isinstance(block, LossRuns | DuplicateRuns):
                    assert len(block.flags) <= 65_535
    assert read > ROUNDS // 100


def test_random_octets_never_hurt_the_media_parsers():
    chance = random.Random(7)
    receiver = EventReceiver()
    for _ in range(ROUNDS):
        data = chance.randbytes(chance.randint(0, 60))
        if chance.random() < 0.7:
            data = bytes([chance.randrange(128, 192)]) + data
        assert isinstance(classify(data), PacketKind)
        assert (parse_header(data) is None) == (len(data) < 12 or data[0] >> 6 != 2)
        length = header_length(data)
        assert length is None or 12 <= length <= len(data)
        bounds = payload_bounds(data)
        assert bounds is None or length <= bounds[0] <= bounds[1] <= len(data)
        receiver.on_packet(data, chance.getrandbits(32), 0.0)
