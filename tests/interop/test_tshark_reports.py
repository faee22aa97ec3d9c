"""tshark: extended reports are read by a dissector nobody here wrote."""

from __future__ import annotations

import pytest

from callmeter.rtp.rtcp import ReceiverReport, SourceDescription, build_compound
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
from callmeter.trace.frames import udp_packet
from callmeter.trace.pcapng import Flow, LinkType, PcapngWriter
from peers.tshark import Decoded

pytestmark = pytest.mark.interop("tshark")

PORT = 40_001
OWN, PEER = 0xCAFE, 0xBEEF
VOIP = VoipMetrics(
    ssrc=PEER,
    loss_rate=13,
    discard_rate=26,
    burst_density=128,
    gap_density=2,
    burst_duration=180,
    gap_duration=4200,
    round_trip_delay=55,
    end_system_delay=80,
    signal_level=-20,
    noise_level=-70,
    r_factor=88,
    mos_lq=42,
    mos_cq=41,
    concealment=3,
    adaptive=2,
    adjustment=1,
    nominal_delay=60,
    maximum_delay=120,
    absolute_maximum_delay=200,
)


@pytest.fixture
def decode_block(tmp_path):
    """What tshark makes of a report with one block."""

    def decode(block):
        file = tmp_path / "report.pcapng"
        # The CNAME is last: tshark 4.0 marks more than their own octets as run-length chunks, and
        # takes a packet that ends with them for malformed.
        packets = [
            ReceiverReport(OWN),
            ExtendedReport(OWN, (block,)),
            SourceDescription.cname(OWN, "alice@example.com"),
        ]
        datagram = build_compound(packets)
        ends = ("127.0.0.1", PORT), ("127.0.0.1", PORT + 1)
        with file.open("wb") as binary:
            writer = PcapngWriter(binary, application="test")
            interface = writer.add_interface(LinkType.RAW_IP, "loopback")
            packet = udp_packet(*ends, datagram)
            writer.add_packet(interface, 1_700_000_000.0, packet, flow=Flow.OUTBOUND)
        decoded = Decoded(file, (), rtcp_ports=(PORT,))
        assert decoded.malformed() == []
        return decoded

    return decode


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (ReferenceTime(0x83AA7E80_80000000), {"bt": "4"}),
        (
            DelaySinceReferences((DelaySinceReference(PEER, 70_000, 65_536),)),
            {"bt": "5", "lrr": "70000", "dlrr": "65536"},
        ),
        (
            StatisticsSummary(
                ssrc=PEER,
                begin=7,
                end=57,
                lost=3,
                duplicates=2,
                jitter=(1, 90, 30, 12),
                ttl=(60, 64, 62, 1),
            ),
            {
                "bt": "6",
                "beginseq": "7",
                "endseq": "57",
                "stats.lost": "3",
                "stats.dups": "2",
                "stats.minjitter": "1",
                "stats.maxjitter": "90",
                "stats.meanjitter": "30",
                "stats.devjitter": "12",
                "stats.minttl": "60",
                "stats.maxttl": "64",
            },
        ),
        (
            VOIP,
            {
                "bt": "7",
                "voipmetrics.burstduration": "180",
                "voipmetrics.gapduration": "4200",
                "voipmetrics.rtdelay": "55",
                "voipmetrics.esdelay": "80",
                "voipmetrics.signallevel": "-20",
                "voipmetrics.noiselevel": "-70",
                "voipmetrics.gmin": "16",
                "voipmetrics.rfactor": "88",
                "voipmetrics.moslq": "4.2",
                "voipmetrics.moscq": "4.1",
                "voipmetrics.plc": "3",
                "voipmetrics.jba": "2",
                "voipmetrics.jbrate": "1",
                "voipmetrics.jbnominal": "60",
                "voipmetrics.jbmax": "120",
                "voipmetrics.jbabsmax": "200",
            },
        ),
        (
            ReceiptTimes(PEER, 7, 9, (160, 320)),
            {"bt": "3", "beginseq": "7", "endseq": "9"},
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, dict) else "",
)
def test_a_block_is_decoded_with_its_figures(decode_block, block, expected):
    names = [f"rtcp.xr.{name}" for name in expected]
    assert decode_block(block).fields("rtcp.pt == 207", *names) == [tuple(expected.values())]


@pytest.mark.parametrize(("kind", "number"), [(LossRuns, "1"), (DuplicateRuns, "2")])
def test_runs_are_decoded_as_runs_and_bits(decode_block, kind, number):
    flags = [True] * 40 + [False, True] * 6 + [False] * 30 + [True]
    names = [f"rtcp.xr.{name}" for name in ("bt", "beginseq", "endseq")]
    decoded = decode_block(kind.of(PEER, 65_530, flags))
    assert decoded.fields("rtcp.pt == 207", *names) == [(number, "65530", "77")]
    chunks = decoded.fields("rtcp.pt == 207", "rtcp.xr.chunk.length", "rtcp.xr.chunk.bit_vector")
    assert chunks == [("40,27,1", str(0b010101010101000))]
