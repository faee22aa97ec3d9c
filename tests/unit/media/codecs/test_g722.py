"""G.722: twice the samples its RTP clock tells of."""

from __future__ import annotations

import numpy as np

from callmeter.media.codecs import find_codec


def test_an_octet_is_two_samples_and_one_unit_of_the_rtp_clock():
    codec = find_codec("G722")
    assert (codec.clock_rate, codec.sample_rate, codec.octet_rate) == (8000, 16_000, 8000)
    assert codec.samples_of(bytes(160)) == 320
    assert len(codec.encode(np.zeros(320, np.int16))) == 160


def test_payloads_may_be_cut_anywhere():
    codec = find_codec("G722")
    sent = np.round(8000 * np.sin(np.arange(3200) / 20)).astype(np.int16)
    octets = b"".join(codec.frames(sent, 320, loop=False))
    whole, cut = codec.decoder(), codec.decoder()
    pieces = [cut.decode(octets[start : start + 77]) for start in range(0, len(octets), 77)]
    assert np.array_equal(np.concatenate(pieces), whole.decode(octets))
