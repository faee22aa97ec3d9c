from __future__ import annotations

import numpy as np
import pytest

from callmeter.rtp.g711 import PCMA_TO_PCMU, PCMU_TO_PCMA, Law, decode, encode

EVERY_CODE = np.arange(256).astype(np.uint8)
EVERY_SAMPLE = np.arange(-32_768, 32_768).astype(np.int16)


@pytest.mark.parametrize(
    ("law", "code", "sample"),
    [
        (Law.PCMU, 0xFF, 0),
        (Law.PCMU, 0x7F, 0),
        (Law.PCMU, 0xFE, 8),
        (Law.PCMU, 0x80, 32_124),
        (Law.PCMU, 0x00, -32_124),
        (Law.PCMU, 0xF0, 120),
        (Law.PCMU, 0xEF, 132),
        (Law.PCMA, 0xD5, 8),
        (Law.PCMA, 0x55, -8),
        (Law.PCMA, 0xD4, 24),
        (Law.PCMA, 0xAA, 32_256),
        (Law.PCMA, 0x2A, -32_256),
        (Law.PCMA, 0xC5, 264),
        (Law.PCMA, 0xF5, 528),
    ],
)
def test_decoded_values_are_those_of_the_recommendation(law, code, sample):
    assert decode(bytes([code]), law).tolist() == [sample]


@pytest.mark.parametrize("law", Law)
def test_encoding_a_decoded_octet_gives_it_back(law):
    again = encode(decode(EVERY_CODE, law), law)
    same = again == EVERY_CODE
    # Mu-law has two zeros; the negative one is never chosen for a sample of zero.
    assert EVERY_CODE[~same].tolist() == ([0x7F] if law is Law.PCMU else [])


@pytest.mark.parametrize("law", Law)
def test_no_sample_below_the_ceiling_is_further_off_than_half_a_step(law):
    levels = np.unique(decode(EVERY_CODE, law).astype(np.int64))
    steps = np.diff(levels, prepend=levels[0], append=levels[-1])
    samples = EVERY_SAMPLE[np.abs(EVERY_SAMPLE.astype(np.int64)) <= levels[-1]]
    coded = decode(encode(samples, law), law).astype(np.int64)
    place = np.searchsorted(levels, coded)
    widest = np.maximum(steps[place], steps[place + 1])
    assert (2 * np.abs(coded - samples) <= widest).all()


@pytest.mark.parametrize("law", Law)
def test_encoding_is_monotonic(law):
    assert (np.diff(decode(encode(EVERY_SAMPLE, law), law).astype(np.int64)) >= 0).all()


@pytest.mark.parametrize(("law", "octet"), [(Law.PCMU, 0xFF), (Law.PCMA, 0xD5)])
def test_silence_is_what_zero_encodes_to(law, octet):
    assert law.silence == octet
    assert encode(np.zeros(1, np.int16), law).tolist() == [octet]


@pytest.mark.parametrize(
    ("law", "sample", "code"),
    [
        (Law.PCMU, 32_767, 0x80),
        (Law.PCMU, -32_768, 0x00),
        (Law.PCMA, 32_767, 0xAA),
        (Law.PCMA, -32_768, 0x2A),
        (Law.PCMU, -1, 0x7F),
        (Law.PCMA, -1, 0x55),
    ],
)
def test_extremes_and_the_smallest_negative_encode_as_in_g191(law, sample, code):
    assert encode(np.array([sample], np.int16), law).tolist() == [code]


def test_a_batch_keeps_its_shape():
    pcm = EVERY_SAMPLE[:320].reshape(2, 160)
    coded = encode(pcm, Law.PCMA)
    assert coded.shape == (2, 160)
    assert decode(coded, Law.PCMA).shape == (2, 160)
    assert (coded[1] == encode(pcm[1], Law.PCMA)).all()


@pytest.mark.parametrize(
    ("table", "law", "other"),
    [(PCMU_TO_PCMA, Law.PCMU, Law.PCMA), (PCMA_TO_PCMU, Law.PCMA, Law.PCMU)],
)
def test_translation_is_decoding_and_encoding_under_the_other_law(table, law, other):
    octets = EVERY_CODE.tobytes()
    assert octets.translate(table) == encode(decode(octets, law), other).tobytes()
