"""Compound packets of one stream, without sockets."""

from __future__ import annotations

import hashlib

import pytest

from callmeter.media.events import PeerLeft, ReportReceived
from callmeter.media.reports import RtcpReporter
from callmeter.rtp import SendTable, StreamTable, build_compound, parse_rtcp
from callmeter.rtp.feedback import GenericNack
from callmeter.rtp.rtcp import Goodbye, ReceiverReport, ReportBlock, SenderReport, UnknownRtcp
from callmeter.rtp.xr import (
    DelaySinceReference,
    DelaySinceReferences,
    ExtendedReport,
    ReferenceTime,
)

WALL = 1_700_000_000.0
PEER = 0xBEEF


@pytest.fixture
def tables():
    reception, table = StreamTable(), SendTable()
    reception.allocate(PEER, probation=0)
    table.allocate(0xCAFE, 7, 16_000)
    return reception, table


@pytest.fixture
def reporter(tables):
    return RtcpReporter(0, "name", *tables, 100.0, lambda n: hashlib.shake_128(b"x").digest(n))


def test_who_sent_lately_sends_sender_reports(reporter, tables):
    reception, table = tables
    (report, _) = parse_rtcp(reporter.compound(100.0, WALL))
    assert report == ReceiverReport(0xCAFE)
    table.advance_one(0, 160, 160, 100.0)
    reception.update_one(0, 5, 160, 100.0, 160)
    report, description = parse_rtcp(reporter.compound(101.0, WALL + 1))
    assert isinstance(report, SenderReport)
    assert (report.packets, report.octets) == (1, 160)
    assert report.rtp_timestamp == 16_000 + 8000
    assert report.ntp >> 32 == int(WALL) + 1 + 2_208_988_800
    assert report.blocks[0].ssrc == PEER
    assert description.chunks[0].items[0].text == "name"
    (report, _) = parse_rtcp(reporter.compound(111.0, WALL + 11))
    assert isinstance(report, ReceiverReport)


def test_the_round_trip_comes_from_the_peer_s_block_about_us(reporter):
    sent_ntp = int((WALL + 2_208_988_800) * 65_536) & 0xFFFF_FFFF
    block = ReportBlock(
        0xCAFE,
        fraction_lost=64,
        cumulative_lost=3,
        jitter=80,
        last_sr=sent_ntp,
        delay_since_last_sr=65_536,
    )
    data = build_compound([ReceiverReport(PEER, (ReportBlock(1), block))])
    (event,) = reporter.on_compound(data, 101.1, WALL + 1.1)
    assert isinstance(event, ReportReceived)
    assert event.rtt_s == pytest.approx(0.1, abs=1e-3)
    assert event.fraction_lost == 0.25
    assert event.jitter_s == 0.01
    assert reporter.schedule.rtt == pytest.approx(0.1, abs=1e-3)
    assert reporter.received == 1


def test_a_report_about_others_has_no_figures_for_us(reporter):
    data = build_compound([ReceiverReport(PEER, (ReportBlock(1),))])
    (event,) = reporter.on_compound(data, 101.0, WALL)
    assert (event.rtt_s, event.fraction_lost, event.jitter_s) == (None, None, None)


def test_it_is_known_how_long_after_our_first_packet_the_peer_last_reported(reporter, tables):
    report = build_compound([ReceiverReport(PEER)])
    reporter.on_compound(report, 101.0, WALL)
    assert reporter.report_after is None
    tables[1].advance_one(0, 160, 160, 102.0)
    reporter.on_compound(report, 104.5, WALL)
    assert reporter.report_after == 2.5
    # No report, though it is RTCP.
    nack = build_compound([GenericNack(PEER, 0xCAFE, (7,))])
    assert reporter.on_compound(nack, 105.0, WALL, reduced_size=True) is not None
    assert reporter.report_after == 2.5


def test_only_the_goodbye_of_the_known_peer_is_an_event(reporter):
    stranger = build_compound([ReceiverReport(9), Goodbye((9,))])
    assert not any(isinstance(e, PeerLeft) for e in reporter.on_compound(stranger, 101.0, WALL))
    goodbye = build_compound([ReceiverReport(PEER), UnknownRtcp(204, 0, b""), Goodbye((PEER,))])
    assert PeerLeft(at=101.0, ssrc=PEER) in reporter.on_compound(goodbye, 101.0, WALL)


def test_malformed_packets_say_nothing_and_count_for_nothing(reporter):
    assert reporter.on_compound(b"\x80\xc8\xff\xff" + bytes(8), 101.0, WALL) is None
    assert reporter.received == 0


def test_after_the_goodbye_no_report_is_due(reporter):
    assert reporter.due(200.0)
    data = reporter.compound(200.0, WALL, goodbye=True)
    assert parse_rtcp(data)[-1] == Goodbye((0xCAFE,))
    reporter.on_sent(len(data))
    assert reporter.sent == 1
    assert not reporter.due(300.0)


def test_a_receiver_that_sends_its_time_gets_its_round_trip(reporter):
    asked = ExtendedReport(PEER, (ReferenceTime(0x1111_2222_3333_4444),))
    reporter.on_compound(build_compound([ReceiverReport(PEER), asked]), 101.0, WALL)
    (_, _, answer) = parse_rtcp(reporter.compound(103.5, WALL + 2.5))
    delay = DelaySinceReference(PEER, 0x2222_3333, 2 * 65_536 + 32_768)
    assert answer == ExtendedReport(0xCAFE, (DelaySinceReferences((delay,)),))
    assert len(parse_rtcp(reporter.compound(104.0, WALL + 3))) == 2
