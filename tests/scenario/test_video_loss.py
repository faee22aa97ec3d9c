"""Video over a path that loses packets, in virtual time: what NACKs and key frames heal."""

from __future__ import annotations

import heapq
import random

import pytest

from callmeter.media.video import EncodedFrame, TestPattern, decode
from callmeter.rtp import h264, vp8
from callmeter.rtp.video_reception import VideoReception
from callmeter.rtp.video_sent import VideoSent

CODECS = {"VP8": vp8, "H264": h264}
FRAME_RATE = 15
SECONDS = 20
DELAY = 0.04
TICK = 0.01


class Path:
    """One end sends a pattern, the other takes it in; each packet and request takes its time.

    Args:
        codec: Of the pattern.
        loss: Share of the packets that are lost, those sent again too.
        nack: The receiver asks for packets.
        keys: It asks for key frames.
    """

    def __init__(self, codec, loss, *, nack=True, keys=True, seed=1):
        self.module = CODECS[codec]
        self.source = TestPattern(160, 120, FRAME_RATE, codec, key_frame_interval_s=5.0)
        self.sent = VideoSent()
        self.reception = VideoReception(
            self.module.describe, nack=nack, keep_frames=True, rtt_s=2 * DELAY
        )
        self.loss = loss
        self.keys = keys
        self.chance = random.Random(seed)
        self.events = []
        self.sequence = 0
        self.lost = 0
        self.frames = []
        self.kept = {}

    def at(self, when, action, *arguments):
        heapq.heappush(self.events, (when, len(self.events), id(action), action, arguments))

    def run(self):
        self.at(0.0, self.send, self.source.next_frame())
        self.at(TICK, self.ask)
        now = 0.0
        while self.events and now < SECONDS:
            now, *_, action, arguments = heapq.heappop(self.events)
            action(now, *arguments)
        return self.reception.statistics(now)

    def send(self, now, frame):
        payloads = self.module.packetize(frame.data, 400)
        for payload in payloads:
            packet = (self.sequence & 0xFFFF, frame.timestamp, payload is payloads[-1], payload)
            self.sequence += 1
            self.kept[packet[0]] = packet
            self.sent.on_packet(packet[0], packet[0].to_bytes(2, "big"))
            self.carry(now, packet)
        self.sent.on_frame(now, key_frame=frame.key_frame, size=self.source.size)
        following = self.source.next_frame()
        self.at(following.timestamp / 90_000, self.send, following)

    def carry(self, now, packet):
        # The first frame comes whole: before it the receiver knows of nothing to ask for.
        if now and self.chance.random() < self.loss:
            self.lost += 1
            return
        self.at(now + DELAY + self.chance.uniform(0, 0.003), self.arrive, packet)

    def arrive(self, now, packet):
        self.reception.receive(now, *packet)
        self.frames += self.reception.whole_frames()

    def ask(self, now):
        for sequence in self.reception.missing(now):
            self.at(now + DELAY, self.send_again, sequence)
        if self.reception.needs_key_frame(now) and self.keys:
            self.at(now + DELAY, lambda _: self.source.request_key_frame())
        self.at(now + TICK, self.ask)

    def send_again(self, now, sequence):
        packet = self.sent.again(now, sequence)
        if packet is not None:
            self.carry(now, self.kept[int.from_bytes(packet, "big")])

    def pictures(self):
        whole = [
            EncodedFrame(self.module.frame_of(each.payloads), each.timestamp, each.key_frame)
            for each in self.frames
        ]
        return sum(1 for _ in decode(whole, self.source.codec))


@pytest.mark.parametrize("codec", CODECS)
def test_a_path_without_loss_asks_for_nothing(codec):
    path = Path(codec, 0.0)
    told = path.run()
    assert told.frames_received == pytest.approx(SECONDS * FRAME_RATE, abs=2)
    assert (told.frames_lost, told.freeze_count, told.keyframes_requested) == (0, 0, 0)
    assert told.packets_recovered == path.sent.retransmitted == 0
    assert path.pictures() == told.frames_received


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_sent_again_heals_a_path_that_loses_one_in_twenty(codec, seed):
    path = Path(codec, 0.05, seed=seed)
    told = path.run()
    assert path.lost > 40
    assert told.packets_recovered > 40
    assert told.frames_lost == 0
    assert told.keyframes_requested == 0
    assert told.frames_received == pytest.approx(SECONDS * FRAME_RATE, abs=6)
    assert path.pictures() == told.frames_received


def standstill_ms(told):
    return told.freeze_duration_ms + told.still_ms


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("seed", range(3))
def test_where_nothing_is_sent_again_key_frames_end_the_standstill(codec, seed):
    helped = Path(codec, 0.01, nack=False, seed=seed).run()
    alone = Path(codec, 0.01, nack=False, keys=False, seed=seed).run()
    assert helped.packets_recovered == 0
    assert helped.frames_lost > 3
    assert helped.keyframes_requested >= 2
    assert helped.keyframes_received > alone.keyframes_received
    assert 0 < standstill_ms(helped) < standstill_ms(alone)
