"""Video over plain RTP with GStreamer's payloaders and depayloaders, judged by the pictures."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from itertools import pairwise

import numpy as np
import pytest

from callmeter.media.video import AnnexBRecorder, EncodedFrame, IvfRecorder, TestPattern, decode
from callmeter.rtp import h264, pack_header, parse_header, vp8
from callmeter.rtp.header import payload_bounds
from callmeter.rtp.video_reception import VideoReception
from peers.gstreamer_video import (
    HEIGHT,
    PAYLOAD_TYPE,
    WIDTH,
    FileDecoder,
    VideoReceiver,
    VideoSender,
)
from peers.program import HOST, udp_unread

pytestmark = pytest.mark.interop("gstreamer")

CODECS = {"VP8": vp8, "H264": h264}
RECORDERS = {"VP8": IvfRecorder, "H264": AnnexBRecorder}
SENT_FRAMES = 45
SEEN_FRAMES = 75
KEY_DISTANCE = 25
MOST_UNREAD = 20_000  # a socket buffer holds ten times as much


def bar(picture):
    """Where the bar of the test pattern begins in a picture."""
    return int(np.argmax(picture[0] > 200))


def assert_is_pattern(pictures, frames):
    """All pictures are there, and the bar moves across them as it was sent."""
    assert len(pictures) == frames
    places = [bar(picture) for picture in pictures]
    wanted = [number % 30 * WIDTH // 30 for number in range(frames)]
    bar_width = WIDTH // 8
    for place, due in zip(places, wanted, strict=True):
        # The bar that leaves at the right comes in at the left.
        assert abs(place - due) <= 3 or (due > WIDTH - bar_width and place <= 3)


@pytest.mark.parametrize(
    ("codec", "packetize"),
    [
        ("VP8", lambda frame, number: vp8.packetize(frame, 1200, 32_760 + number)),
        ("VP8", lambda frame, number: vp8.packetize(frame, 200)),
        ("H264", lambda frame, number: h264.packetize(frame, 1200)),
        ("H264", lambda frame, number: h264.packetize(frame, 200)),
        ("H264", lambda frame, number: h264.packetize(frame, 1200, mode=0)),
    ],
    ids=["vp8-picture-id", "vp8-small", "h264", "h264-fragments", "h264-single-units"],
)
async def test_gstreamer_decodes_every_frame_that_was_cut_into_payloads(
    run, tmp_path, codec, packetize
):
    source = TestPattern(WIDTH, HEIGHT, 15, codec)
    packets = []
    for number in range(SENT_FRAMES):
        frame = source.next_frame()
        payloads = packetize(frame.data, number)
        for payload in payloads:
            header = pack_header(
                PAYLOAD_TYPE, len(packets), frame.timestamp, 7, marker=payload is payloads[-1]
            )
            packets.append(header + payload)
    peer = run(VideoReceiver(tmp_path / "receiver", codec, len(packets)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for packet in packets:
            if udp_unread(peer.port) > MOST_UNREAD:
                peer.wait_until(lambda: udp_unread(peer.port) == 0)
            sender.sendto(packet, (HOST, peer.port))
    assert_is_pattern(await peer.pictures((WIDTH, HEIGHT)), SENT_FRAMES)


@contextlib.asynccontextmanager
async def listening():
    """A port and the packets that arrive there, each with its time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(0)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        receiver.bind((HOST, 0))
        arrived = []

        def drain():
            with contextlib.suppress(BlockingIOError):
                while True:
                    arrived.append((time.monotonic(), receiver.recv(2048)))

        loop = asyncio.get_running_loop()
        loop.add_reader(receiver, drain)
        try:
            yield receiver.getsockname()[1], arrived
            drain()
        finally:
            loop.remove_reader(receiver)


async def sent_by(peer_of):
    """All packets of a sender that ended: time, header, payload."""
    async with listening() as (port, arrived):
        assert await peer_of(port).ended(60) == 0
    packets = []
    for now, packet in arrived:
        start, end = payload_bounds(packet)
        packets.append((now, parse_header(packet), packet[start:end]))
    return packets


def take_in(reception, packets):
    for now, header, payload in packets:
        reception.receive(now, header.sequence, header.timestamp, header.marker, payload)


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("VP8", ""),
        ("VP8", "picture-id-mode=7-bit mtu=300"),
        ("VP8", "picture-id-mode=15-bit"),
        ("H264", ""),
        ("H264", "mtu=300"),
        ("H264", "aggregate-mode=zero-latency"),
        ("H264", "aggregate-mode=max-stap mtu=400"),
    ],
)
async def test_the_frames_gstreamer_sends_are_counted_and_recorded(run, tmp_path, codec, options):
    packets = await sent_by(
        lambda port: run(
            VideoSender(
                tmp_path / "sender",
                codec,
                port=port,
                frames=SEEN_FRAMES,
                key_distance=KEY_DISTANCE,
                options=options,
            )
        )
    )
    reception = VideoReception(CODECS[codec].describe, keep_frames=True)
    take_in(reception, packets)
    told = reception.statistics(packets[-1][0])
    assert (told.frames_received, told.frames_lost, told.packets_malformed) == (SEEN_FRAMES, 0, 0)
    assert told.keyframes_received == SEEN_FRAMES // KEY_DISTANCE
    assert told.size == (WIDTH, HEIGHT)
    ends = [now for now, header, _ in packets if header.marker]
    assert told.frame_rate_fps == sum(end > ends[-1] - 1 for end in ends)
    between = ends[2 * KEY_DISTANCE] - ends[KEY_DISTANCE]
    assert told.keyframe_interval_ms == pytest.approx(1000 * between)
    assert not reception.needs_key_frame(packets[-1][0])

    path = tmp_path / "seen"
    recorder = RECORDERS[codec](path)
    frames = [
        EncodedFrame(CODECS[codec].frame_of(frame.payloads), frame.timestamp, frame.key_frame)
        for frame in reception.whole_frames()
    ]
    for frame in frames:
        recorder.write(frame)
    recorder.close()
    seen = await run(FileDecoder(tmp_path / "decoder", codec, path)).pictures((WIDTH, HEIGHT))
    assert len(seen) == SEEN_FRAMES
    own = list(decode(frames, codec))
    assert len(own) == SEEN_FRAMES
    assert np.abs(np.stack(own).astype(int) - seen).max() <= 1
    # The ball is white on black, and not twice at one place.
    assert seen.max() > 200
    assert all((before != after).any() for before, after in pairwise(seen))


@pytest.mark.parametrize("codec", CODECS)
async def test_a_packet_lost_on_the_way_is_noticed_and_heals_when_it_is_sent_again(
    run, tmp_path, codec
):
    packets = await sent_by(
        lambda port: run(
            VideoSender(tmp_path / "sender", codec, port=port, frames=30, options="mtu=400")
        )
    )
    late = packets.pop(len(packets) // 2)
    for heal in (True, False):
        reception = VideoReception(CODECS[codec].describe, nack=True, rtt_s=0.05)
        asked = []
        for now, header, payload in packets:
            reception.receive(now, header.sequence, header.timestamp, header.marker, payload)
            asked += reception.missing(now + 0.02)
            if heal and asked:
                _, lost, again = late
                reception.receive(now + 0.03, lost.sequence, lost.timestamp, lost.marker, again)
        end = packets[-1][0] + 2
        reception.missing(end)
        told = reception.statistics(end)
        assert set(asked) == {late[1].sequence}
        assert (told.frames_received, told.frames_lost) == ((30, 0) if heal else (29, 1))
        assert told.packets_recovered == heal
        assert reception.needs_key_frame(end) is not heal
