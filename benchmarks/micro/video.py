"""Video packets without sockets: callmeter against aiortc, interleaved, CPU time.

    python benchmarks/micro/video.py

A second of the test pattern at 2 Mbit/s, 640 x 480, 30 frames a second, in payloads of 1200 octets,
is taken in again and again, in order and without loss. Three figures for each:

- `cut`: a frame to the payloads of its packets, by packet.
- `take in`: a payload with its sequence number, timestamp and marker to a whole frame, by packet.
  callmeter counts frames, key frames and freezes in it and notes what is missing; aiortc has its
  depacketizer and its jitter buffer, which puts the octets of the frame together.
- `and keep`: the same of callmeter with frames kept and put together, as for a recording.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import TYPE_CHECKING

from aiortc.codecs.h264 import H264Encoder, h264_depayload
from aiortc.codecs.vpx import Vp8Encoder, vp8_depayload
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket

from callmeter.media.video import TestPattern
from callmeter.rtp import h264, vp8
from callmeter.rtp.video_reception import VideoReception

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

Packet = tuple[int, int, bool, bytes]

CODECS: dict[str, tuple[ModuleType, type, Callable]] = {
    "VP8": (vp8, Vp8Encoder, vp8_depayload),
    "H264": (h264, H264Encoder, h264_depayload),
}
SECONDS = 4
FRAME_RATE = 30
LIMIT = 1200
CAPACITY = 128


def frames_of(codec: str) -> list:
    source = TestPattern(640, 480, FRAME_RATE, codec, key_frame_interval_s=1, bitrate=2_000_000)
    return [source.next_frame() for _ in range(SECONDS * FRAME_RATE)]


def packets_of(codec: str, frames: list) -> list[Packet]:
    packets: list[Packet] = []
    for frame in frames:
        payloads = CODECS[codec][0].packetize(frame.data, LIMIT)
        packets += [
            (len(packets) + place & 0xFFFF, frame.timestamp, place == len(payloads) - 1, payload)
            for place, payload in enumerate(payloads)
        ]
    return packets


def cut_ours(codec: str, frames: list) -> int:
    packetize = CODECS[codec][0].packetize
    return sum(len(packetize(frame.data, LIMIT)) for frame in frames)


def cut_aiortc(codec: str, frames: list) -> int:
    encoder = CODECS[codec][1]
    if codec == "VP8":
        return sum(len(encoder._packetize(frame.data, 1)) for frame in frames)
    split = encoder._split_bitstream
    return sum(len(encoder._packetize(split(frame.data))) for frame in frames)


def take_in_ours(codec: str, packets: list[Packet], *, keep: bool = False) -> int:
    module = CODECS[codec][0]
    reception = VideoReception(module.describe, nack=True, keep_frames=keep)
    for packet in packets:
        reception.receive(packet[1] / 90_000, *packet)
        if keep and packet[2]:
            for whole in reception.whole_frames():
                module.frame_of(whole.payloads)
    return reception.statistics(SECONDS).frames_received


def take_in_aiortc(codec: str, packets: list[RtpPacket]) -> int:
    depayload = CODECS[codec][2]
    buffer = JitterBuffer(capacity=CAPACITY, is_video=True)
    frames = 0
    for packet in packets:
        packet._data = depayload(packet.payload)
        frames += buffer.add(packet)[1] is not None
    return frames


def for_aiortc(packets: list[Packet]) -> list[RtpPacket]:
    made = []
    for sequence, timestamp, marker, payload in packets:
        packet = RtpPacket(
            payload_type=96, marker=int(marker), sequence_number=sequence, timestamp=timestamp
        )
        packet.payload = payload
        made.append(packet)
    return made


def microseconds(work: Callable[[], int], wanted: int, packets: int) -> float:
    """CPU time by packet."""
    before = time.process_time_ns()
    done = work()
    spent = time.process_time_ns() - before
    if done < wanted:
        sys.exit(f"{done} in place of {wanted}")
    return spent / 1_000 / packets


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--repeats", type=int, default=15)
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    found: dict[str, list[float]] = {}
    for codec in CODECS:
        frames = frames_of(codec)
        packets = packets_of(codec, frames)
        theirs = for_aiortc(packets)
        count, whole = len(packets), len(frames)
        works = {
            "cut callmeter": (lambda c=codec, f=frames: cut_ours(c, f), whole),
            "cut aiortc": (lambda c=codec, f=frames: cut_aiortc(c, f), whole),
            "take in callmeter": (lambda c=codec, p=packets: take_in_ours(c, p), whole),
            # Its jitter buffer gives a frame when the next one begins.
            "take in aiortc": (lambda c=codec, p=theirs: take_in_aiortc(c, p), whole - 1),
            "and keep callmeter": (
                lambda c=codec, p=packets: take_in_ours(c, p, keep=True),
                whole,
            ),
        }
        for _ in range(given.repeats):
            for name, (work, wanted) in works.items():
                found.setdefault(f"{codec} {name}", []).append(microseconds(work, wanted, count))
    medians = {row: statistics.median(runs) for row, runs in found.items()}
    if given.json:
        sys.stdout.write(json.dumps(medians, indent=2) + "\n")
        return
    sys.stdout.write("us by packet\n")
    for row, median in medians.items():
        sys.stdout.write(f"{row:<24} {median:7.2f}\n")


if __name__ == "__main__":
    main()
