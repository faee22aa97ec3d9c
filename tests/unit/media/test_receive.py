"""Batches and single packets give the same result, whatever is mixed into them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callmeter.media import Discard, report_lane
from callmeter.media import engine as engine_module
from callmeter.rtp.telephone_event import EventSender
from callmeter.srtp import SrtpContext

LOOPBACK = "127.0.0.1"
STREAMS = 3
KINDS = ["good", "good", "good", "good", "skip", "again", "late", "ssrc", "digit", "law", "short",
         "padded", "extended", "forged", "foreign", "rtcp", "stun"]  # fmt: skip

scripts = st.lists(
    st.lists(st.tuples(st.integers(0, STREAMS - 1), st.sampled_from(KINDS)), max_size=60),
    min_size=1,
    max_size=8,
)


class Peer:
    """One peer that does as a script says, and must do the same twice."""

    def __init__(self, lab, stream, line):
        self.lab = lab
        self.stream = stream
        self.socket = lab.socket()
        self.foreign = lab.socket()
        self.context = None if line is None else SrtpContext(line, "send")
        self.sequence = 1000
        self.ssrc = 77
        self.packets = []

    def act(self, kind):
        sender = self.foreign if kind == "foreign" else self.socket
        sender.sendto(self.datagram(kind), (LOOPBACK, self.stream.port))

    def datagram(self, kind):
        rtp = self.lab.rtp
        if kind in {"again", "late"} and self.packets:
            return self.packets[-1 if kind == "again" else 0]
        if kind in {"short", "stun", "rtcp"}:
            return {
                "short": b"\x80\x00" + bytes(5),
                "stun": bytes(20),
                "rtcp": bytes.fromhex("80c90001 00000000"),
            }[kind]
        if kind == "ssrc":
            self.ssrc += 1
        self.sequence += 2 if kind == "skip" else 1
        options = {"ssrc": self.ssrc}
        if kind == "digit":
            event = EventSender("5").tick(160 * self.sequence)
            options |= {"payload_type": 101, "payload": event.payload}
        elif kind == "law":
            options["payload_type"] = 8
        packet = rtp(self.sequence, **options)
        if kind == "padded":
            packet = bytes([packet[0] | 0x20]) + packet[1:-1] + b"\x04"
        if kind == "extended":
            extension = b"\xbe\xde\x00\x01" + bytes(4)
            packet = bytes([packet[0] | 0x10]) + packet[1:12] + extension + packet[12:]
        if self.context is not None and kind != "forged":
            packet = self.context.protect(packet)
        if kind == "good":
            self.packets.append(packet)
        return packet


class Hearing:
    """Keeps what it hears, but not when: that differs between two runs by nothing else."""

    def __init__(self):
        self.heard = []

    def open(self, schedule):
        pass

    def write(self, codec, sequence, timestamp, arrival, payload):
        self.heard.append((codec, sequence, timestamp, round(arrival, 6), payload))

    def close(self):
        pass


def outcome(make_lab, script, *, secure, batch_from, backwards=False):
    lab = make_lab()
    lab.engine._receive.batch_from = batch_from
    if backwards:
        lanes = lab.engine.lanes
        lanes.receive_rank[:] = range(lanes.capacity - 1, -1, -1)
        lanes.arranged = True
    peers, sinks = [], []
    for _ in range(STREAMS):
        stream = lab.open()
        line = lab.line() if secure else None
        peer = Peer(lab, stream, line)
        keys = {}
        if secure:
            keys = {
                "srtp_send": SrtpContext(line, "send"),
                "srtp_receive": SrtpContext(line, "receive"),
            }
        stream.start(
            lab.parameters(peer.socket, receive_payload_types={0: "PCMU", 8: "PCMA"}, **keys)
        )
        sinks.append(Hearing())
        stream.attach(sinks[-1])
        peers.append(peer)
    for tick in script:
        for number, kind in tick:
            peers[number].act(kind)
        lab.run(0.02)
    result = []
    for peer, sink in zip(peers, sinks, strict=True):
        statistics = peer.stream.statistics()
        events = [type(event).__name__ for event in lab.events(peer.stream)]
        result.append((statistics.receive, statistics.dropped, events, sink.heard))
    lab.close()
    return result


@pytest.mark.parametrize("secure", [False, True])
@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=scripts)
def test_batches_and_single_packets_agree_on_everything(make_lab, secure, script):
    one_by_one = outcome(make_lab, script, secure=secure, batch_from=1 << 30)
    in_batches = outcome(make_lab, script, secure=secure, batch_from=1)
    assert in_batches == one_by_one
    arranged = outcome(make_lab, script, secure=secure, batch_from=1, backwards=True)
    assert arranged == one_by_one


def test_a_steady_stream_is_really_judged_in_batches(make_lab, monkeypatch):
    lab = make_lab()
    lab.engine._receive.batch_from = 1
    a, b = lab.pair(secure=True)
    # The first report comes within this time, the second two seconds later.
    lab.run(1.2)
    monkeypatch.setattr(a, "on_datagram", None)
    monkeypatch.setattr(b, "on_datagram", None)
    lab.run(1.0)
    assert a.statistics().receive.packets_received >= 108


def test_a_sink_hears_batches_too(make_lab):
    lab = make_lab()
    lab.engine._receive.batch_from = 1
    a, b = lab.pair(secure=True)
    sink = Discard()
    a.attach(sink)
    lab.run(2.0)
    assert sink.packets == a.statistics().receive.packets_received
    assert sink.packets == b.statistics().send.packets_sent


def test_forged_packets_within_a_batch_are_counted_and_the_others_kept(make_lab):
    lab = make_lab()
    lab.engine._receive.batch_from = 1
    pairs = [lab.pair(secure=True) for _ in range(20)]
    lab.run(0.5)
    victim, peer = pairs[0]
    ssrc = peer.ssrc
    forged = lab.rtp(int(lab.engine.send_table.sequence[peer._row]) + 500, ssrc=ssrc)
    peer._rtp.sendto(forged + bytes(10), (LOOPBACK, victim.port))
    lab.run(0.5)
    assert victim.statistics().srtp_decrypt_failures == 1
    for a, b in pairs:
        assert a.statistics().receive.packets_received == b.statistics().send.packets_sent
    assert lab.engine.lanes.steady[victim._row]


def test_a_flood_beyond_the_bound_of_a_tick_waits_in_the_socket(make_lab, monkeypatch):
    lab = make_lab()
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer, send=False))
    monkeypatch.setattr("callmeter.media.receive.MAX_DATAGRAMS", 1024)
    for _ in range(1200):
        peer.sendto(bytes(20), (LOOPBACK, stream.port))
    lane = lab.engine._receive
    lane.run(lab.loop.time(), 0.0)
    assert lane.datagrams == 1024
    lane.run(lab.loop.time(), 0.0)
    assert lane.datagrams == 1200
    assert stream.statistics().dropped == {"stun": 1200}


def test_a_stream_that_is_stopped_by_a_sink_of_its_batch_is_left_alone(make_lab):
    lab = make_lab()
    a, b = lab.pair()

    class Stopper(Hearing):
        def write(self, codec, sequence, timestamp, arrival, payload):
            b.stop()

    a.attach(Stopper())
    lab.run(0.2)
    assert lab.engine.streams == [a]


def test_many_streams_read_their_rtcp_four_times_a_second(make_lab, monkeypatch):
    monkeypatch.setattr(engine_module, "SPREAD", ((0, 4), (2, 1)))
    monkeypatch.setattr(engine_module, "MANY", 2)
    lab = make_lab()
    a, b = lab.pair(secure=True)
    lab.run(0.1)
    report, goodbye = (b._reports.reporter.compound(lab.engine.now(), 0.0) for _ in range(2))
    context = b._sender.context

    def send(data):
        b._rtp.sendto(context.protect_rtcp(data), (LOOPBACK, a.port))

    before = a.statistics().rtcp_packets_received
    send(report)
    lab.run(0.005)
    assert a.statistics().rtcp_packets_received == before
    lab.run(0.25)
    assert a.statistics().rtcp_packets_received == before + 1
    send(goodbye)
    lab.run(0.005)
    a.stop()
    lab.run(0.3)
    assert lab.engine.streams == [b]


@pytest.mark.parametrize(
    ("rounds", "spare", "progress_expected"),
    [
        (5, 0.001, [(0, 0), (6, 6)]),
        (2, 0.001, [(0, 0), (4, 4), (6, 6)]),
        (1, 0.001, [(0, 0), (2, 2), (4, 4), (6, 6)]),
        (5, 1.0, [(0, 0), (2, 2), (4, 4), (6, 6)]),
    ],
    ids=["time for all", "two rounds a tick", "one round a tick", "no time to spare"],
)
def test_the_rtcp_of_many_streams_is_spread_over_ticks(
    make_lab, monkeypatch, rounds, spare, progress_expected
):
    monkeypatch.setattr(engine_module, "SPREAD", ((0, 4), (2, 1)))
    monkeypatch.setattr(engine_module, "MANY", 2)
    monkeypatch.setattr(engine_module, "REPORTS", 2)
    monkeypatch.setattr(engine_module, "REPORT_ROUNDS", rounds)
    monkeypatch.setattr(engine_module, "SPARE_S", spare)
    lab = make_lab()
    streams = [stream for _ in range(3) for stream in lab.pair()]
    lab.engine.lanes.report_in[:] = lab.engine.lanes.report_out[:] = False
    lab.run(0.1)
    for stream in streams:
        report = stream._reports.reporter.compound(lab.engine.now(), 0.0)
        peer = streams[streams.index(stream) ^ 1]
        stream._rtp.sendto(report, (LOOPBACK, peer.port))
    lab.engine.reports.deadline[[stream._row for stream in streams]] = lab.engine.now()
    asked = []
    for stream in streams:
        monkeypatch.setattr(stream, "on_report_due", lambda now, row=stream._row: done(row))

    def done(row):
        asked.append(row)
        lab.engine.reports.deadline[row] = float("inf")

    def read():
        return sum(stream.statistics().rtcp_packets_received for stream in streams)

    before = read()
    progress = []
    for _ in range(60):
        lab.run(0.005)
        progress.append((len(asked), read() - before))
    steps = sorted(set(progress))
    assert steps == progress_expected
    first = progress.index(progress_expected[1])
    assert progress[first : first + len(steps) - 1] == steps[1:]


def test_rtcp_that_is_too_much_to_wait_is_read_at_once(make_lab, monkeypatch):
    monkeypatch.setattr(engine_module, "SPREAD", ((0, 4), (2, 1)))
    monkeypatch.setattr(engine_module, "MANY", 2)
    monkeypatch.setattr(report_lane, "MAX_WAITING", 0)
    lab = make_lab()
    a, b = lab.pair()
    lab.run(0.1)
    report = b._reports.reporter.compound(lab.engine.now(), 0.0)
    before = a.statistics().rtcp_packets_received
    b._rtp.sendto(report, (LOOPBACK, a.port))
    lab.run(0.005)
    assert a.statistics().rtcp_packets_received == before + 1


def test_a_payload_type_that_looks_like_rtcp_with_its_marker_is_judged_alone(make_lab):
    lab = make_lab()
    lab.engine._receive.batch_from = 1
    stream, peer = lab.open(), lab.socket()
    stream.start(lab.parameters(peer, receive_payload_types={72: "PCMU"}))
    for sequence in range(5):
        peer.sendto(lab.rtp(sequence, payload_type=72), (LOOPBACK, stream.port))
        lab.run(0.02)
    assert stream.statistics().receive.packets_received == 5
    assert not lab.engine.lanes.steady[stream._row]
