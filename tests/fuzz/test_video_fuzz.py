"""Hostile video payloads: only the named error leaves, and what is read is bounded."""

from __future__ import annotations

import contextlib
import random

import pytest

from callmeter.errors import RtpSyntaxError
from callmeter.rtp import h264, vp8
from callmeter.rtp.video import VideoPayload
from callmeter.rtp.video_reception import WINDOW, VideoReception

ROUNDS = 20_000
VP8_KEY_FRAME = bytes.fromhex("b05c009d012a4001f000") + bytes(range(80))
PARAMETER_SET = bytes.fromhex("6742c00dda0507e840000003004000000f03c50aa8")
HIGH_PARAMETER_SET = bytes.fromhex("67f4001e919b281407bd4908000003000800000301e078b16cb0")
ACCESS_UNIT = b"".join(
    b"\0\0\0\1" + unit
    for unit in (PARAMETER_SET, HIGH_PARAMETER_SET, b"\x68\xce\x3c\x80", b"\x65\x88" + b"i" * 90)
)
SEEDS = [
    (vp8, vp8.packetize(VP8_KEY_FRAME, 60, 77)),
    (vp8, [b"\xb0\xf0\x91\x22\x05\x43" + VP8_KEY_FRAME]),
    (h264, h264.packetize(ACCESS_UNIT, 60)),
    (h264, h264.packetize(ACCESS_UNIT, 200, mode=0)),
]


def mutated(seed, chance):
    data = bytearray(seed)
    for _ in range(chance.randint(0, 4)):
        place = chance.randrange(min(len(data), 24) + 1)
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


@pytest.mark.parametrize(("codec", "payloads"), SEEDS)
def test_only_the_named_error_leaves_the_readers_of_video_payloads(codec, payloads):
    chance = random.Random(payloads[0])
    described = put_together = 0
    for _ in range(ROUNDS // len(payloads)):
        hostile = [mutated(payload, chance) for payload in payloads]
        for payload in hostile:
            try:
                told = codec.describe(payload)
            except RtpSyntaxError:
                continue
            described += 1
            assert isinstance(told, VideoPayload)
            assert told.size is None or max(told.size) <= 16_384
            assert told.picture_id is None or 0 <= told.picture_id < 1 << 15
        try:
            frame = codec.frame_of(hostile)
        except RtpSyntaxError:
            continue
        put_together += 1
        assert len(frame) <= sum(map(len, hostile)) + 3 * sum(map(len, hostile))
    assert described > ROUNDS // 10
    assert put_together > ROUNDS // 1000


@pytest.mark.parametrize("codec", [vp8, h264])
def test_random_octets_are_described_or_refused(codec):
    chance = random.Random(codec.__name__)
    for _ in range(ROUNDS):
        with contextlib.suppress(RtpSyntaxError):
            codec.describe(chance.randbytes(chance.randint(0, 40)))


@pytest.mark.parametrize(("codec", "payloads"), SEEDS)
def test_a_hostile_stream_is_counted_within_bounds(codec, payloads):
    chance = random.Random(payloads[0])
    reception = VideoReception(codec.describe, nack=True, keep_frames=True)
    now = sequence = timestamp = 0
    for _ in range(ROUNDS):
        now += chance.choice((0, 0, 0.001, 0.01, 0.5))
        sequence += chance.choice((1, 1, 1, 1, 1, 0, 2, -3, 40, 600, 30_000))
        timestamp += chance.choice((0, 0, 0, 3000, 3000, -3000, 1 << 31))
        payload = chance.choice(payloads)
        if chance.random() < 0.2:
            payload = mutated(payload, chance)
        marker = chance.random() < 0.4
        reception.receive(now, sequence & 0xFFFF, timestamp & 0xFFFF_FFFF, marker, payload)
        if chance.random() < 0.1:
            assert len(reception.missing(now)) <= 128
            reception.needs_key_frame(now)
        assert len(reception._waiting) <= WINDOW
        assert len(reception._lost._lost) <= WINDOW
    told = reception.statistics(now)
    assert told.frames_received > ROUNDS // 100
    assert told.frames_lost > ROUNDS // 100
    assert told.packets_late > ROUNDS // 100
    assert told.frames_received - told.frames_dropped == len(reception.whole_frames())
