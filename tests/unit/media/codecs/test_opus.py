"""Opus as both ends want it."""

from __future__ import annotations

import numpy as np
import pytest

from callmeter.codec_config import OpusConfig
from callmeter.media.codecs.opus import OpusCodec
from callmeter.sdp.opus import OpusParameters

SPEECH = np.round(
    3000 * np.sin(np.arange(48_000) / 40) * (1 + np.sin(np.arange(48_000) / 2000))
    + np.random.default_rng(1).normal(0, 300, 48_000)
).astype(np.int16)


def agreed(fmtp="", **own):
    return OpusCodec.agreed(OpusConfig(**own), OpusParameters.parse(fmtp))


def lengths(codec, samples=960, audio=SPEECH):
    return {len(payload) for payload in codec.frames(audio, samples, loop=False)}


def test_all_packets_have_one_length():
    assert lengths(agreed()) == {80}
    assert lengths(agreed(bitrate=64_000)) == {160}


def test_the_peer_s_highest_bit_rate_is_kept():
    assert lengths(agreed("maxaveragebitrate=16000")) == {40}
    assert lengths(agreed("maxaveragebitrate=500000")) == {80}


def test_packets_of_joined_frames_take_more_unless_the_peer_forbids_it():
    assert max(lengths(agreed(), 1440, SPEECH[:47_520])) > 160
    assert max(lengths(agreed("maxaveragebitrate=16000"), 1440, SPEECH[:47_520])) <= 62


def test_redundancy_is_sent_to_a_peer_that_uses_it():
    assert not agreed().redundant
    assert agreed("useinbandfec=1").redundant
    assert agreed() != agreed("useinbandfec=1")
    assert lengths(agreed("useinbandfec=1")) == {80}


@pytest.mark.parametrize(
    ("rate", "cutoff"), [(8000, 4000), (16_000, 8000), (24_000, 12_000), (47_000, 20_000)]
)
def test_what_the_peer_cannot_render_is_not_sent(rate, cutoff):
    codec = agreed(f"maxplaybackrate={rate}")
    assert codec.cutoff == cutoff
    assert agreed("maxplaybackrate=48000").cutoff is None
    times = np.arange(48_000) / 48_000
    high = np.round(8000 * np.sin(2 * np.pi * (cutoff + 2000) * times)).astype(np.int16)
    decoder = codec.decoder()
    heard = [decoder.decode(payload) for payload in codec.frames(high, 960, loop=False)]
    assert np.abs(np.concatenate(heard[10:]).astype(int)).max() < 4000


def test_silence_is_left_out_only_where_the_settings_say_so():
    assert agreed(discontinuous=True).discontinuous
    assert not agreed("usedtx=1").discontinuous
