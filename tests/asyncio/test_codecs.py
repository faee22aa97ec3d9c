"""Calls in every codec, over real sockets: who plays is heard, by the tone."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from callmeter import Codec, MediaConfig, OpusConfig, PcmSource, Silence, Tone, WavFile
from callmeter.media import level_dbov, recorded_frequency
from callmeter.media.wave_file import WaveWriter, read_wave

PATIENCE = 20
ENOUGH = 60
EVERY = MediaConfig(codecs=tuple(Codec))


@pytest.fixture
async def conversation(make_endpoint):
    """Two ends of a call: `alice, bob = await conversation(media, media)`."""
    calls = []

    async def talk(ours, theirs=EVERY):
        alice = await make_endpoint("alice", media=ours)
        bob = await make_endpoint("bob", media=theirs)
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(bob.next_call(PATIENCE))
            call = await alice.invite(str(bob.contact))
            incoming = await answering
            answered = tasks.create_task(incoming.answer())
            await call.answered(PATIENCE)
        calls.append(call)
        return call, answered.result()

    yield talk
    for call in calls:
        await call.bye()


async def heard(call, packets=ENOUGH):
    """Wait until so many packets more have come."""
    begun = call.media.statistics().receive.packets_received
    async with asyncio.timeout(PATIENCE):
        while call.media.statistics().receive.packets_received < begun + packets:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def plays(call, source, until):
    async with asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(call.media.play(source))
        await until
        playing.cancel()


@pytest.mark.parametrize("ptime", [10, 20, 30, 60])
@pytest.mark.parametrize("codec", list(Codec))
async def test_each_codec_is_heard_with_packets_of_each_length(
    conversation, tmp_path, codec, ptime
):
    # What a packet lasts is what the end that receives it prefers.
    theirs = MediaConfig(codecs=tuple(Codec), ptime=ptime)
    alice, bob = await conversation(MediaConfig(codecs=(codec,)), theirs)
    path = tmp_path / "heard.wav"
    recorder = bob.media.record(path)
    await plays(alice, Tone(660), heard(bob, 1200 // ptime))
    bob.media.stream.detach(recorder)
    assert (alice.media.codec, bob.media.codec) == (codec, codec)
    assert (alice.media.ptime_ms, bob.media.ptime_ms) == (ptime, 20)
    assert recorded_frequency(path) == pytest.approx(660, abs=3)
    found = bob.media.statistics()
    assert found.receive.packets_lost == 0
    assert recorder.statistics.last_packet_ms == ptime
    told = bob.report().to_dict()["media"][0]
    times = [told[way]["audio_packetization_ms"] for way in ("send", "receive")]
    assert times == [20, ptime]
    assert recorder.statistics.damaged == 0


async def test_opus_comes_back_from_an_echo(conversation, tmp_path):
    alice, bob = await conversation(MediaConfig(codecs=("opus",)))
    bob.media.echo()
    path = tmp_path / "echo.wav"
    recorder = alice.media.record(path)
    await plays(alice, Tone(660), heard(alice, 100))
    alice.media.stream.detach(recorder)
    rate, samples = read_wave(path)
    assert rate == 48_000
    assert level_dbov(samples[rate:]) > -25


async def test_a_call_changes_to_opus_and_back_while_it_plays(conversation, tmp_path):
    alice, bob = await conversation(MediaConfig(codecs=("PCMU",)))
    path = tmp_path / "heard.wav"
    recorder = bob.media.record(path)

    async def change():
        await heard(bob)
        for codec in ("opus", "G722", "PCMU"):
            await alice.update(MediaConfig(codecs=(codec,)))
            assert alice.media.codec == bob.media.codec == codec
            await heard(bob)

    await plays(alice, Tone(660), change())
    bob.media.stream.detach(recorder)
    found = bob.media.statistics().receive
    assert (found.packets_lost, found.timestamp_jumps) == (0, 0)
    assert recorder.statistics.codec == "PCMU"
    rate, samples = read_wave(path)
    assert rate == 8000
    assert recorded_frequency(path) == pytest.approx(660, abs=3)
    assert len(samples) / rate > 4 * ENOUGH / 50 - 0.5


async def test_the_codec_is_in_the_report_and_digits_go_beside_opus(conversation):
    alice, bob = await conversation(MediaConfig(codecs=("opus", "PCMU")))
    await alice.send_dtmf("42")
    async with asyncio.timeout(PATIENCE):
        while bob.media.statistics().dtmf_digits_received < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await alice.bye()
    assert alice.report().media[0].codec == "opus"


async def test_a_report_of_who_records_has_level_and_decoder_of_opus(conversation, tmp_path):
    alice, bob = await conversation(MediaConfig(codecs=("opus",)))
    alice.media.record(tmp_path / "heard.wav")
    await plays(bob, Tone(440), heard(alice))
    await alice.bye()
    received = alice.report().media[0].receive
    assert received["opus_last_packet_duration_ms"] == 20
    assert received["opus_packet_loss"] == received["plc_events"] == 0
    assert -25 < received["audio_level_rms"] < -15


async def test_comfort_noise_is_agreed_on_and_no_loss(conversation):
    noisy = MediaConfig(codecs=("G722",), comfort_noise=True)
    alice, bob = await conversation(noisy, noisy)
    await plays(alice, Silence(), heard(bob, 4))
    found = bob.media.statistics()
    assert found.receive.packets_lost == found.receive.sequence_number_gaps == 0
    assert found.receive.packets_received < 20
    assert found.dropped == {}


async def test_opus_is_sent_as_the_peer_asks(conversation):
    asks = MediaConfig(codecs=("opus",), opus=OpusConfig(max_bitrate=16_000, in_band_fec=True))
    alice, _ = await conversation(MediaConfig(codecs=("opus",)), asks)
    encoding, samples = alice.media.coding
    assert (encoding.bitrate, encoding.redundant, samples) == (16_000, True, 960)


async def test_the_loop_goes_on_while_a_file_is_encoded(conversation, tmp_path):
    path = tmp_path / "long.wav"
    writer = WaveWriter(path, 16_000)
    writer.write((8000 * np.sin(np.arange(16_000 * 20) / 7)).astype(np.int16))
    writer.close()
    alice, bob = await conversation(MediaConfig(codecs=("opus",)))
    source = WavFile(path)
    assert not source.has_encoded(*alice.media.coding)
    await alice.media.play(source, seconds=0.2)
    assert source.has_encoded(*alice.media.coding)
    await heard(bob, 5)


class Slow(PcmSource):
    """Audio that is not there before somebody lets it."""

    loop = False

    def __init__(self):
        super().__init__()
        self.asked, self.released = threading.Event(), threading.Event()

    def samples(self, rate, multiple):
        self.asked.set()
        assert self.released.wait(PATIENCE)
        return np.zeros(multiple, np.int16)


async def test_a_call_that_ends_while_a_source_is_encoded_played_nothing(conversation):
    alice, _ = await conversation(MediaConfig(codecs=("opus",)))
    source = Slow()
    async with asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(alice.media.play(source))
        await asyncio.to_thread(source.asked.wait, PATIENCE)
        await alice.bye()
        source.released.set()
    assert playing.result() == 0.0
