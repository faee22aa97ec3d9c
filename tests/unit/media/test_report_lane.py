"""Reports of many streams at once do what each stream's own do, and leave the rest to them."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest

from callmeter.config import SrtpSuite
from callmeter.media import engine as engine_module
from callmeter.media import report_lane
from callmeter.media.events import PeerLeft, ReportReceived
from callmeter.media.stream_rtcp import StreamRtcp
from callmeter.rtp.rtcp import (
    Goodbye,
    ReportBlock,
    SenderReport,
    SourceDescription,
    UnknownRtcp,
    build_compound,
    ntp_timestamp,
    parse_rtcp,
)
from callmeter.rtp.xr import ExtendedReport, ReferenceTime
from callmeter.srtp import SrtpContext
from callmeter.srtp.libsrtp import place_of

LOOPBACK = "127.0.0.1"
PAIRS = 4
USUAL_SUITE = SrtpSuite.AES_CM_128_HMAC_SHA1_80


@pytest.fixture(params=["mmsg", pytest.param("uring", marks=pytest.mark.io_uring)])
def backend_name(request):
    return request.param


class Chance:
    """Random octets that are the same for whoever asks, however often."""

    def __init__(self, lab):
        self._random = lab.engine.entropy
        self.constant = False

    def __call__(self, octets):
        return b"\x60" * octets if self.constant else self._random(octets)


def living(line, lifetime):
    (key,) = line.keys
    return replace(line, keys=(replace(key, lifetime=lifetime),))


@pytest.fixture
def crowd(make_lab, monkeypatch):
    """Some pairs of streams that count as many; `pays` reports are worth a batch."""
    monkeypatch.setattr(engine_module, "SPREAD", ((0, 4), (2, 1)))
    monkeypatch.setattr(engine_module, "MANY", 2)

    def make(*, pays=1, secure=True, suite=USUAL_SUITE, lifetime=None, **changes):
        monkeypatch.setattr(report_lane, "BATCH_PAYS", pays)
        lab = make_lab()
        chance = lab.engine.entropy = lab.engine._report_lane._entropy = Chance(lab)
        opened = [lab.open() for _ in range(2 * PAIRS)]
        lines = [living(lab.line(suite), lifetime) for _ in opened]
        chance.constant = True
        for number, stream in enumerate(opened):
            keys = {}
            if secure:
                keys["srtp_send"] = SrtpContext(lines[number], "send")
                keys["srtp_receive"] = SrtpContext(lines[number ^ 1], "receive")
            stream.start(lab.parameters(opened[number ^ 1], **keys | changes))
        return lab, opened

    return make


@pytest.fixture
def alone(monkeypatch):
    """How many reports were due, and were read, one by one."""
    done = {"sent": 0, "read": 0}
    on_due, on_datagram = StreamRtcp.on_due, StreamRtcp.on_datagram

    def send(self, *arguments):
        done["sent"] += 1
        on_due(self, *arguments)

    def read(self, *arguments):
        done["read"] += 1
        on_datagram(self, *arguments)

    monkeypatch.setattr(StreamRtcp, "on_due", send)
    monkeypatch.setattr(StreamRtcp, "on_datagram", read)
    return done


def figures(stream):
    """All that is told of a stream, without what names it."""
    known = asdict(stream.statistics())
    for name in ("ssrc", "remote_ssrc", "source", "sampled_at"):
        del known[name]
    return known


def course(stream):
    return asdict(stream.series())


@pytest.mark.parametrize("secure", [True, False], ids=["secure", "plain"])
def test_reports_in_batches_are_as_reports_one_by_one(crowd, alone, secure):
    told = []
    for pays in (1, 1000):
        before = dict(alone)
        lab, streams = crowd(pays=pays, secure=secure)
        lab.run(31.0)
        told.append(
            (
                [figures(stream) for stream in streams],
                [course(stream) for stream in streams],
                [
                    [
                        (event.rtt_s, event.fraction_lost, event.jitter_s, event.at)
                        for event in lab.events(stream, ReportReceived)
                    ]
                    for stream in streams
                ],
            )
        )
        each = {kind: alone[kind] - before[kind] for kind in alone}
        assert streams[0].statistics().rtcp_packets_received >= 5
        # The first report of all comes before anything was sent.
        assert (each["sent"] <= 2 * len(streams)) == (pays == 1)
        assert (each["read"] <= 3 * len(streams)) == (pays == 1)
        for stream in streams:
            stream.stop()
    assert_alike(*told)


def assert_alike(found, expected):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_alike(found[key], value)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, float) and math.isfinite(expected):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    else:
        assert found == expected


def test_what_is_sent_in_batches_is_right_to_whoever_reads_it(crowd, alone):
    lab, streams = crowd(secure=False)
    lab.run(3.0)
    peers = [lab.socket() for _ in streams]
    for stream, peer in zip(streams, peers, strict=True):
        stream.start(lab.parameters(peer))
    before = dict(alone)
    reports = {stream: [] for stream in streams}
    for _ in range(12):
        lab.run(1.0)
        for stream, peer in zip(streams, peers, strict=True):
            reports[stream] += [data for data in lab.fetch_all(peer) if data[1] == 200]
    assert alone["sent"] == before["sent"]
    for stream in streams:
        assert len(reports[stream]) >= 2
        report, description = parse_rtcp(reports[stream][-1])
        assert report.ssrc == stream.ssrc
        assert report.packets > 100
        assert report.blocks[0].ssrc == stream.statistics().remote_ssrc
        assert description.chunks[0].items[0].text == stream.cname
        assert stream.statistics().rtcp_packets_sent >= len(reports[stream])


def reports_of(lab, stream, *more, blocks=()):
    ntp = ntp_timestamp(lab.wall())
    report = SenderReport(stream.ssrc, ntp, 160, 1, 160, blocks)
    return build_compound([report, SourceDescription.cname(stream.ssrc, "peer"), *more])


def send(stream, peer, data, *, protect=True):
    """From the stream's own port, without it."""
    context = stream._sender.context
    protected = context.protect_rtcp(data) if protect and context is not None else data
    stream._rtp.sendto(protected, (LOOPBACK, peer.port))


def heard(stream):
    return stream.statistics().rtcp_packets_received


@pytest.fixture
def settled(crowd, alone):
    """Pairs that know each other and send no report by themselves any more."""

    def settle(**changes):
        lab, streams = crowd(**changes)
        lab.run(2.0)
        lab.engine.reports.deadline[:] = float("inf")
        lab.run(0.5)
        assert all(heard(stream) for stream in streams)
        alone["read"] = 0
        return lab, streams

    return settle


def test_a_report_of_another_form_is_read_whole_and_once(settled, alone):
    lab, streams = settled()
    a, b, c, d = streams[:4]
    before = heard(a), heard(c)
    send(b, a, reports_of(lab, b, ExtendedReport(b.ssrc, (ReferenceTime(1 << 40),))))
    send(d, c, reports_of(lab, d))
    lab.run(0.3)
    assert (heard(a), heard(c)) == (before[0] + 1, before[1] + 1)
    assert a.statistics().dropped == {}
    assert a._reports.reporter.schedule.take_references(lab.engine.now()) is not None
    assert alone["read"] == 0
    # The next one is looked at by itself, and brings the stream back.
    for count in (2, 3):
        send(b, a, reports_of(lab, b))
        send(d, c, reports_of(lab, d))
        lab.run(0.3)
        assert (heard(a), heard(c)) == (before[0] + count, before[1] + count)
        assert alone["read"] == 1


def test_a_goodbye_is_heard(settled):
    lab, streams = settled()
    a, b = streams[:2]
    send(b, a, reports_of(lab, b, Goodbye((b.ssrc,))))
    lab.run(0.3)
    assert lab.events(a, PeerLeft)


@pytest.mark.parametrize("secure", [True, False], ids=["secure", "plain"])
def test_two_reports_of_one_stream_are_read_in_their_order(settled, secure):
    lab, streams = settled(secure=secure)
    a, b = streams[:2]
    before = heard(a)
    for lost in (10, 20, 30):
        block = ReportBlock(a.ssrc, cumulative_lost=lost)
        send(b, a, reports_of(lab, b, blocks=(block,)))
    lab.run(0.3)
    assert heard(a) == before + 3
    assert a.statistics().reported_packets_lost == 30


def test_what_cannot_be_read_is_looked_into(settled):
    lab, streams = settled()
    a, b, c, d = streams[:4]
    before = heard(a), heard(c)
    send(b, a, reports_of(lab, b), protect=False)
    forged = bytearray(d._sender.context.protect_rtcp(reports_of(lab, d)))
    forged[20] ^= 1
    send(d, c, bytes(forged), protect=False)
    lab.run(0.3)
    assert (heard(a), heard(c)) == before
    assert a.statistics().rtcp_in_clear == 1
    assert a.statistics().dropped == c.statistics().dropped == {"rtcp_authentication": 1}


def test_a_plain_report_from_elsewhere_is_dropped(settled):
    lab, streams = settled(secure=False)
    a, b = streams[:2]
    before = heard(a)
    stranger = lab.socket("127.0.0.2")
    stranger.sendto(reports_of(lab, b), (LOOPBACK, a.port))
    lab.run(0.3)
    assert heard(a) == before
    assert a.statistics().dropped == {"rtcp_source": 1}


def test_a_secure_report_from_elsewhere_moves_where_reports_go(settled):
    lab, streams = settled()
    a, b = streams[:2]
    moved = lab.socket()
    moved.sendto(b._sender.context.protect_rtcp(reports_of(lab, b)), (LOOPBACK, a.port))
    lab.run(0.3)
    lab.engine.reports.deadline[a._row] = lab.engine.now()
    lab.run(8.0)
    assert any(200 <= data[1] <= 201 for data in lab.fetch_all(moved))


STRANGER = 0x5151


def stranger(*more):
    report = SenderReport(STRANGER, ntp_timestamp(1.0), 1, 1, 1)
    return build_compound([report, SourceDescription.cname(STRANGER, "x"), *more])


def test_another_member_is_reported_on_one_by_one(settled):
    lab, streams = settled(secure=False)
    a, b = streams[:2]
    send(b, a, stranger())
    send(b, a, reports_of(lab, b))
    lab.run(0.3)
    assert a._reports.reporter.schedule.members == 3
    assert lab.engine.reports.crowded[a._row]
    assert not lab.engine._report_lane._are_usual(a._row, lab.engine.now())
    assert lab.engine._report_lane._are_usual(b._row, lab.engine.now())


def test_a_member_that_was_not_the_first_is_counted_once_when_the_first_has_left(settled):
    lab, streams = settled(secure=False)
    a, b = streams[:2]
    for data in (reports_of(lab, b, Goodbye((b.ssrc,))), stranger(), reports_of(lab, b)):
        send(b, a, data)
    lab.run(0.3)
    lab.engine.lanes.report_in[a._row] = True
    assert a._reports.reporter.schedule.members == 3
    send(b, a, stranger(Goodbye((STRANGER,))))
    lab.run(0.3)
    lab.engine.lanes.report_in[a._row] = True
    send(b, a, reports_of(lab, b))
    lab.run(0.3)
    assert a._reports.reporter.schedule.members == 2


def test_reports_wait_for_those_of_their_stream_that_are_looked_at_alone(settled):
    lab, streams = settled()
    a, b = streams[:2]
    lane, source = lab.engine._report_lane, a._reports._destination
    context = b._sender.context
    first, second = (
        context.protect_rtcp(
            reports_of(lab, b, blocks=(ReportBlock(a.ssrc, cumulative_lost=lost),))
        )
        for lost in (10, 20)
    )
    elsewhere = b._reports._destination
    assert lane.keep(a, a._row, first, elsewhere, 1.0)
    assert lane.keep(a, a._row, second, source, 2.0)
    assert lane.read(0, 0.0)
    assert lane.read(0, 0.0)
    assert a.statistics().reported_packets_lost != 20
    assert not lane.read(5, 0.0)
    assert a.statistics().reported_packets_lost == 20


def test_what_waited_to_be_looked_at_alone_is_gone_with_its_stream(settled):
    lab, streams = settled()
    a, b = streams[:2]
    lane = lab.engine._report_lane
    data = b._sender.context.protect_rtcp(reports_of(lab, b))
    lane.keep(a, a._row, data, b._reports._destination, 1.0)
    assert lane.read(0, 0.0)
    a.stop()
    fresh = lab.open()
    assert fresh._row == a._row
    assert not lane.read(5, 0.0)
    assert fresh.statistics().dropped == {}
    assert lab.engine.lanes.reports_alone[fresh._row] == 0


def test_a_stream_that_is_looked_at_alone_once_is_back_in_the_batch(settled, alone):
    lab, streams = settled(secure=False)
    a, b = streams[:2]
    before = heard(a)
    lab.socket("127.0.0.2").sendto(reports_of(lab, b), (LOOPBACK, a.port))
    lab.run(0.3)
    send(b, a, reports_of(lab, b))
    lab.run(0.3)
    assert (heard(a), alone["read"]) == (before + 1, 1)


def test_a_stream_whose_key_is_in_question_reads_its_reports_itself(settled, alone):
    lab, streams = settled()
    a, b = streams[:2]
    before = heard(a)
    lab.engine.lanes.sending[b._row] = False
    lab.engine.lanes.unsettle(a._row)
    send(b, a, reports_of(lab, b))
    lab.run(0.3)
    assert (heard(a), alone["read"]) == (before + 1, 1)


def test_what_is_too_long_or_too_short_for_a_batch_is_read_or_refused_alone(settled, alone):
    lab, streams = settled()
    a, b = streams[:2]
    before = heard(a)
    send(b, a, reports_of(lab, b, UnknownRtcp(204, 0, bytes(600))))
    lab.run(0.3)
    assert (heard(a), alone["read"]) == (before + 1, 1)
    send(b, a, reports_of(lab, b)[:8], protect=False)
    lab.run(0.3)
    assert (heard(a), alone["read"]) == (before + 1, 2)
    assert a.statistics().dropped == {"rtcp_authentication": 1}


def test_reports_keep_their_order_when_one_has_another_form(settled, monkeypatch):
    monkeypatch.setattr(report_lane, "SLOTS", 1)
    lab, streams = settled()
    a, b = streams[:2]
    lane, source, context = lab.engine._report_lane, a._reports._destination, b._sender.context

    def keep(lost, at, *more):
        data = reports_of(lab, b, *more, blocks=(ReportBlock(a.ssrc, cumulative_lost=lost),))
        assert lane.keep(a, a._row, context.protect_rtcp(data), source, at)

    now = lab.engine.now()
    keep(1, now, UnknownRtcp(204, 0, bytes(4)))
    keep(2, now + 1)
    assert lane.read(0, 0.0)
    keep(3, now + 2)
    keep(4, now + 3)
    while lane.read(1, 0.0):
        pass
    assert a.statistics().reported_packets_lost == 4
    assert a.statistics().rtcp_sr_rr_interval_ms == pytest.approx(1000)
    assert lab.engine.lanes.reports_kept[a._row] == lab.engine.lanes.reports_alone[a._row] == 0


def test_who_sends_very_many_reports_does_not_keep_others_waiting(settled):
    lab, streams = settled()
    a, b, c, d = streams[:4]
    lane = lab.engine._report_lane
    rubbish = b._sender.context.protect_rtcp(reports_of(lab, b))
    kept = [lane.keep(a, a._row, rubbish, a._reports._destination, 1.0) for _ in range(3000)]
    assert sum(kept) == report_lane.MAX_OF_A_STREAM
    data = d._sender.context.protect_rtcp(reports_of(lab, d))
    before = heard(c)
    assert lane.keep(c, c._row, data, c._reports._destination, 1.0)
    lane.read(4, 0.0)
    assert heard(c) == before + 1
    while lane.read(4, 0.0):
        pass
    assert lab.engine.lanes.reports_kept[a._row] == 0


def test_a_session_that_follows_another_rollover_counter_is_the_one_that_is_used(
    settled, monkeypatch
):
    lab, streams = settled()
    a, b = streams[:2]
    lab.engine.lanes.sending[b._row] = False
    lab.run(0.1)
    restarted = SrtpContext(b._sender.context.line, "send")
    restarted.set_roc(b.ssrc, 1)
    sequence = int(lab.engine.send_table.sequence[b._row])
    former = place_of(a._receiver.context.handle)

    def send_from_b(number, **fields):
        packet = restarted.protect(lab.rtp(sequence + number, ssrc=b.ssrc, **fields))
        b._rtp.sendto(packet, (LOOPBACK, a.port))
        lab.run(0.03)

    for number in range(9):
        send_from_b(number)
    # A digit is what shows the counter: it does not settle the stream.
    send_from_b(9, payload_type=101, payload=b"\x01\x0a\x00\xa0")
    assert a.statistics().srtp_roc_resets == 1
    current = place_of(a._receiver.context.handle)
    assert current != former
    used = []
    unprotect = report_lane.libsrtp.unprotect_rtcp

    def note(handle, *others):
        used.append(place_of(handle))
        return unprotect(handle, *others)

    monkeypatch.setattr(report_lane.libsrtp, "unprotect_rtcp", note)
    before = heard(a)
    b._rtp.sendto(restarted.protect_rtcp(reports_of(lab, b)), (LOOPBACK, a.port))
    lab.run(0.3)
    assert heard(a) == before + 1
    assert set(used) <= {current}
    assert place_of(lab.engine.lanes.receive_handles[a._row]) == current


@pytest.mark.parametrize("secure", [True, False], ids=["secure", "plain"])
def test_reports_of_video_are_protected_as_its_packets_are(crowd, pictures, secure):
    lab, _ = crowd(secure=secure)
    for _ in range(3):
        ends = lab.video_pair(secure=secure, feedback=frozenset(), reduced_size=False)
        for stream in ends:
            stream.play(pictures(octets=300))
    videos = [stream for stream in lab.engine.streams if not stream.patient]
    lab.run(1.0)
    rows = [stream._row for stream in videos]
    lab.engine.reports.deadline[rows] = lab.engine.reports.previous[rows] = 0.0
    before = [stream.statistics().rtcp_packets_received for stream in videos]
    lab.run(0.6)
    for stream, count in zip(videos, before, strict=True):
        found = stream.statistics()
        assert found.rtcp_packets_received > count
        assert found.rtcp_in_clear == 0
        assert found.dropped == {}


@pytest.mark.parametrize("mux", [True, False], ids=["one port", "a port for RTCP"])
def test_more_streams_than_the_tables_began_with_hear_each_other(make_lab, monkeypatch, mux):
    monkeypatch.setattr(engine_module, "MANY", 2)
    lab = make_lab()
    streams = [end for _ in range(40) for end in lab.pair(secure=True, rtcp_mux=mux)]
    lab.run(8.0)
    lab.engine.reports.deadline[:] = float("inf")
    lab.run(0.6)
    counts = [stream.statistics() for stream in streams]
    assert all(each.rtcp_packets_received >= 2 and each.dropped == {} for each in counts)
    assert sum(each.rtcp_packets_sent for each in counts) == (
        sum(each.rtcp_packets_received for each in counts)
    )


def test_new_keys_lose_no_report(crowd):
    lab, streams = crowd()
    lab.run(3.0)
    for _ in range(4):
        for a, b in zip(streams[::2], streams[1::2], strict=True):
            ours, theirs = lab.line(), lab.line()
            for own, peer, keys in ((a, b, (ours, theirs)), (b, a, (theirs, ours))):
                sending, receiving = keys
                own.start(
                    lab.parameters(
                        peer,
                        srtp_send=SrtpContext(sending, "send"),
                        srtp_receive=SrtpContext(receiving, "receive"),
                    )
                )
                lab.run(0.013)
        lab.run(2.7)
    lab.engine.reports.deadline[:] = float("inf")
    lab.run(0.6)
    for a, b in zip(streams[::2], streams[1::2], strict=True):
        for own, peer in ((a, b), (b, a)):
            assert heard(own) == peer.statistics().rtcp_packets_sent
            assert "rtcp_authentication" not in own.statistics().dropped


@pytest.mark.parametrize("backend_name", ["portable"])
def test_where_addresses_have_no_heads_all_is_done_one_by_one(crowd, alone):
    lab, streams = crowd(secure=False)
    lab.run(12.0)
    assert all(heard(stream) >= 2 for stream in streams)
    assert alone["read"] == sum(heard(stream) for stream in streams)


@pytest.mark.parametrize(
    "changes",
    [
        {"extended_reports": frozenset({"voip-metrics"})},
        {"feedback": frozenset({"nack"})},
        {"suite": SrtpSuite.AES_192_CM_HMAC_SHA1_80},
        {"lifetime": 1 << 20},
    ],
    ids=["extended reports", "feedback", "a key without a handle", "a key with a lifetime"],
)
def test_a_stream_with_more_to_say_or_to_heed_sends_its_reports_itself(crowd, alone, changes):
    lab, streams = crowd(**changes)
    lab.run(12.0)
    assert alone["sent"] >= sum(stream.statistics().rtcp_packets_sent for stream in streams)
    assert alone["read"] == sum(heard(stream) for stream in streams) > 0


def test_streams_that_do_not_send_report_what_they_receive_one_by_one(crowd, alone):
    lab, streams = crowd(send=False)
    lab.run(12.0)
    assert alone["sent"] >= sum(stream.statistics().rtcp_packets_sent for stream in streams)
    assert all(heard(stream) for stream in streams)


def test_a_packet_that_cannot_be_protected_does_not_leave(settled, monkeypatch):
    lab, streams = settled()
    protect = report_lane.libsrtp.protect_rtcp
    refused = lab.engine.lanes.send_handles[streams[2]._row]
    monkeypatch.setattr(
        report_lane.libsrtp,
        "protect_rtcp",
        lambda handle, *others: 1 if handle is refused else protect(handle, *others),
    )
    sent = [stream.statistics().rtcp_packets_sent for stream in streams]
    got = [heard(stream) for stream in streams]
    rows = [stream._row for stream in streams]
    lab.engine.reports.deadline[rows] = lab.engine.reports.previous[rows] = 0.0
    lab.run(0.6)
    for number, stream in enumerate(streams):
        assert stream.statistics().rtcp_packets_sent - sent[number] == (number != 2)
        assert heard(stream) - got[number] == (number != 3)
        assert stream.statistics().dropped == {}


def test_a_report_that_the_kernel_refuses_is_not_counted(settled, monkeypatch):
    lab, streams = settled()
    backend = lab.engine.backend
    whole = backend.send_to_heads
    monkeypatch.setattr(
        backend,
        "send_to_heads",
        lambda arena, count, *others: (
            [1] if arena.capacity == report_lane.SLOTS else whole(arena, count, *others)
        ),
    )
    rows = [stream._row for stream in streams]
    before = sum(stream.statistics().rtcp_packets_sent for stream in streams)
    lab.engine.reports.deadline[rows] = lab.engine.reports.previous[rows] = 0.0
    lab.run(0.3)
    after = sum(stream.statistics().rtcp_packets_sent for stream in streams)
    assert after - before == len(streams) - 1


def test_reports_of_streams_that_have_stopped_meanwhile_are_left_alone(settled):
    lab, streams = settled()
    a, b = streams[:2]
    send(b, a, reports_of(lab, b))
    lab.run(0.005)
    a.stop()
    fresh = lab.open()
    assert fresh._row == a._row
    lab.run(0.3)
    assert lab.engine.reports.received[fresh._row] == 0
    assert lab.engine.lanes.reports_alone[fresh._row] == 0


def test_more_than_fit_into_a_batch_are_read_and_sent_in_the_next_one(settled, monkeypatch):
    monkeypatch.setattr(report_lane, "SLOTS", 3)
    lab, streams = settled()
    before = [heard(stream) for stream in streams]
    for number, stream in enumerate(streams):
        send(stream, streams[number ^ 1], reports_of(lab, stream))
    rows = [stream._row for stream in streams]
    sent = sum(stream.statistics().rtcp_packets_sent for stream in streams)
    lab.engine.reports.deadline[rows] = lab.engine.reports.previous[rows] = 0.0
    now, wall = lab.engine.now(), lab.wall()
    more = [lab.engine._report_lane.send(4, now, wall) for _ in range(4)]
    assert more == [True, True, False, False]
    assert sum(stream.statistics().rtcp_packets_sent for stream in streams) == sent + len(streams)
    lab.run(0.3)
    assert [heard(stream) - count for stream, count in zip(streams, before, strict=True)] == (
        [2] * len(streams)
    )


@pytest.mark.parametrize("pays", [1, 1000], ids=["in a batch", "one by one"])
def test_both_clocks_of_a_report_are_those_of_the_moment_in_which_it_leaves(
    settled, monkeypatch, pays
):
    lab, streams = settled(pays=pays, secure=False)
    engine, peer = lab.engine, lab.socket()
    stream = streams[0]
    stream.start(lab.parameters(peer, symmetric=False))
    lab.run(0.1)
    lab.fetch_all(peer)
    receive, begun = engine._receive.run, []

    def take_long(now, offset):
        receive(now, offset)
        begun.append(now)
        lab.loop.hold_up(0.004)

    monkeypatch.setattr(engine._receive, "run", take_long)
    engine.reports.deadline[stream._row] = engine.reports.previous[stream._row] = 0.0
    lab.run(0.3)
    (data,) = (data for data in lab.fetch_all(peer) if data[1] == 200)
    (report, _) = parse_rtcp(data)
    moment = report.ntp / 2**32 - 2_208_988_800 - (lab.wall() - engine.now())
    assert min(moment - start for start in begun if start < moment) == pytest.approx(
        0.004, abs=1e-5
    )
    at = engine.send_table.media_time(stream._row, moment)
    assert abs(report.rtp_timestamp - at) <= 1
