"""What a jitter buffer would make of streams, packet by packet and in batches."""

from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.jitter_buffer_config import JitterBufferSettings

FIXED = JitterBufferSettings(adaptive=False, delay=0.06)


@pytest.fixture
def stream(lab):
    """A stream with a jitter buffer, and its peer's socket."""
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    stream.buffer(FIXED)
    lab.run(0.02)
    return stream, peer


def buffer_of(stream):
    return stream.statistics().jitter_buffer


def send(lab, stream, peer, *packets):
    """Send packets 20 ms apart."""
    for packet in packets:
        peer.sendto(packet, ("127.0.0.1", stream.port))
        lab.run(0.02)


@pytest.mark.parametrize("batch_from", [1, 24])
def test_batches_and_single_packets_are_buffered_alike(lab, stream, batch_from):
    own, peer = stream
    lab.engine._receive.batch_from = batch_from
    send(lab, own, peer, *(lab.rtp(number) for number in range(5)))
    lab.run(0.1)
    send(lab, own, peer, lab.rtp(5), lab.rtp(11), lab.rtp(11))
    lab.run(0.1)
    found = buffer_of(own)
    assert (found.pushed, found.late, found.duplicates) == (6, 1, 1)
    assert found.lost == 6
    assert found.target_delay_ms == 60
    assert found.current_delay_ms == pytest.approx(60, abs=1)
    own.stop()
    assert buffer_of(own) == found


def test_digits_are_not_missing(lab, stream):
    own, peer = stream
    event = b"\x01\x0a\x00\xa0"
    send(
        lab,
        own,
        peer,
        lab.rtp(0),
        *(lab.rtp(number, payload_type=101, timestamp=160, payload=event) for number in (1, 2, 3)),
        lab.rtp(4),
    )
    lab.run(0.2)
    found = buffer_of(own)
    assert (found.pushed, found.lost) == (2, 0)


def test_another_source_is_a_new_beginning(lab, stream):
    own, peer = stream
    send(lab, own, peer, lab.rtp(0), lab.rtp(1), lab.rtp(2, ssrc=0xBEEF), lab.rtp(3, ssrc=0xBEEF))
    assert buffer_of(own).restarts == 1
    assert buffer_of(own).pushed == 4


def test_a_stream_has_no_buffer_unless_it_was_asked_for(lab):
    a, b = lab.pair()
    b.buffer(FIXED)
    lab.run(0.5)
    assert buffer_of(a) is None
    assert buffer_of(b).pushed > 20
    b.buffer(JitterBufferSettings())
    assert buffer_of(b).pushed == 0
    assert len(lab.engine.lanes.buffers) == 1
    b.stop()
    assert len(lab.engine.lanes.buffers) == 0
    with pytest.raises(LocalProtocolError):
        b.buffer(FIXED)


def test_streams_without_a_buffer_are_left_out_of_a_batch(lab):
    lab.engine._receive.batch_from = 1
    pairs = [lab.pair() for _ in range(2)]
    pairs[0][0].buffer(FIXED)
    lab.run(0.5)
    assert buffer_of(pairs[0][0]).pushed > 20
    pairs[0][0].buffer(FIXED)
    for end in pairs[0]:
        end.stop()
    pairs[1][0].buffer(FIXED)
    pairs[1][1].stop()
    lab.run(0.2)
    assert buffer_of(pairs[1][0]).pushed <= 1
