"""aiortc reads the video payloads made here, and what it makes is read here."""

from __future__ import annotations

from fractions import Fraction

import pytest
from aiortc.codecs.h264 import H264Encoder, h264_depayload
from aiortc.codecs.vpx import Vp8Encoder, VpxPayloadDescriptor, vp8_depayload
from av import Packet

from callmeter.media.video import TestPattern
from callmeter.rtp import h264, vp8
from callmeter.rtp.video_reception import VideoReception

pytestmark = pytest.mark.interop("aiortc")

FRAMES = 30
SIZE = (320, 240)
CODECS = {"VP8": (vp8, Vp8Encoder), "H264": (h264, H264Encoder)}


def pattern(codec):
    source = TestPattern(*SIZE, codec=codec)
    return [source.next_frame() for _ in range(FRAMES)]


def test_aiortc_puts_vp8_frames_together():
    for number, frame in enumerate(pattern("VP8")):
        payloads = vp8.packetize(frame.data, 500, 32_760 + number)
        assert b"".join(map(vp8_depayload, payloads)) == frame.data
        for place, payload in enumerate(payloads):
            descriptor, _ = VpxPayloadDescriptor.parse(payload)
            assert descriptor.partition_start == (place == 0)
            assert descriptor.picture_id == (32_760 + number) % (1 << 15)


@pytest.mark.parametrize("limit", [200, 1200])
def test_aiortc_puts_h264_access_units_together(limit):
    for frame in pattern("H264"):
        payloads = h264.packetize(frame.data, limit)
        assert h264.nal_units(b"".join(map(h264_depayload, payloads))) == h264.nal_units(frame.data)


@pytest.mark.parametrize("codec", CODECS)
def test_the_payloads_of_aiortc_are_counted_and_put_together(codec):
    module, encoder = CODECS[codec]
    packing = encoder()
    reception = VideoReception(module.describe, keep_frames=True)
    frames = pattern(codec)
    sequence = 0
    for frame in frames:
        packet = Packet(frame.data)
        packet.pts, packet.time_base = frame.timestamp, Fraction(1, 90_000)
        payloads, timestamp = packing.pack(packet)
        for payload in payloads:
            marker = payload is payloads[-1]
            reception.receive(timestamp / 90_000, sequence, timestamp, marker, payload)
            sequence += 1
    told = reception.statistics(2.0)
    assert (told.frames_received, told.keyframes_received, told.frames_lost) == (FRAMES, 1, 0)
    assert (told.size, told.freeze_count, told.packets_malformed) == (SIZE, 0, 0)
    for frame, whole in zip(frames, reception.whole_frames(), strict=True):
        again = module.frame_of(whole.payloads)
        assert whole.timestamp == frame.timestamp
        assert again == frame.data or h264.nal_units(again) == h264.nal_units(frame.data)
