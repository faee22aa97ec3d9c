"""Coders of libavcodec."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from callmeter.media.codecs.libav import LibavDecoder, LibavEncoder


def test_every_frame_gives_one_packet_at_once():
    encoder = LibavEncoder("g722", 16_000, {"frame_size": "320"})
    assert [len(encoder.encode(np.zeros(320, np.int16))) for _ in range(3)] == [160] * 3


def test_an_empty_packet_does_not_end_the_stream():
    decoder = LibavDecoder("g722", 16_000)
    assert len(decoder.decode(b"")) == 0
    assert len(decoder.decode(bytes(160))) == 320


def test_a_damaged_packet_does_not_spoil_the_next_one():
    encoder = LibavEncoder("libopus", 48_000, {"frame_duration": "20"})
    good = encoder.encode(np.zeros(960, np.int16))
    decoder = LibavDecoder("libopus", 48_000)
    assert len(decoder.decode(b"\xff\xff\xff")) == 0
    assert len(decoder.decode(good)) == 960


def test_pyav_is_not_loaded_before_it_is_needed():
    code = "import sys; from callmeter import Endpoint, Tone; print('av' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
