"""WAV files in, WAV files out."""

from __future__ import annotations

import contextlib
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import ConfigurationError
from callmeter.media import wave_file
from callmeter.media.codecs import find_codec
from callmeter.media.wave_file import WaveWriter, read_wave, resample, rounded


def riff(tag, channels, rate, bits, data, *, extra=b"", before=b""):
    header = struct.pack(
        "<HHIIHH", tag, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits
    )
    header += extra
    chunks = before + b"fmt " + struct.pack("<I", len(header)) + header
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.fixture
def save(tmp_path):
    def write(data):
        path = tmp_path / "file.wav"
        path.write_bytes(data)
        return path

    return write


RAMP = np.arange(-100, 100, dtype=np.int16) * 256

EXTENSIBLE = struct.pack("<HHI", 22, 16, 4) + struct.pack("<H", 1) + bytes(14)
OCTETS24 = b"".join(int(value << 8).to_bytes(3, "little", signed=True) for value in RAMP.tolist())

FORMATS = {
    "8 bits": (1, 8, ((RAMP >> 8) + 128).astype(np.uint8).tobytes()),
    "16 bits": (1, 16, RAMP.astype("<i2").tobytes()),
    "24 bits": (1, 24, OCTETS24),
    "32 bits": (1, 32, (RAMP.astype("<i4") << 16).tobytes()),
    "float": (3, 32, (RAMP / 32767).astype("<f4").tobytes()),
    "double": (3, 64, (RAMP / 32767).astype("<f8").tobytes()),
}


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_gives_the_same_samples(save, name):
    tag, bits, data = FORMATS[name]
    rate, samples = read_wave(save(riff(tag, 1, 8000, bits, data)))
    assert rate == 8000
    assert samples.dtype == np.int16
    assert samples.tolist() == RAMP.tolist()


@pytest.mark.parametrize(("tag", "name"), [(7, "PCMU"), (6, "PCMA")])
def test_both_laws_of_g711_are_read(save, tag, name):
    codec = find_codec(name)
    _, samples = read_wave(save(riff(tag, 1, 8000, 8, codec.encode(RAMP))))
    assert samples.tolist() == codec.decode(codec.encode(RAMP)).tolist()


def test_channels_are_averaged_and_a_torn_last_frame_is_left_out(save):
    stereo = np.array([[100, 300], [-5, 5]], "<i2").tobytes() + b"\x01\x02"
    _, samples = read_wave(save(riff(1, 2, 16_000, 16, stereo)))
    assert samples.tolist() == [200, 0]


def test_other_chunks_are_passed_over_and_padded_to_even(save):
    other = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    _, samples = read_wave(save(riff(1, 1, 8000, 16, b"\x01\x00", before=other)))
    assert samples.tolist() == [1]


def test_an_extensible_header_names_its_format_inside(save):
    data = riff(0xFFFE, 1, 8000, 16, b"\x05\x00", extra=EXTENSIBLE)
    assert read_wave(save(data))[1].tolist() == [5]


def test_floats_beyond_the_range_are_clipped(save):
    data = np.array([2.0, -2.0, np.nan, np.inf], "<f4").tobytes()
    assert read_wave(save(riff(3, 1, 8000, 32, data)))[1].tolist() == [32767, -32768, 0, 32767]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a RIFF WAVE file"),
        (b"RIFF\0\0\0\0AVI ", "not a RIFF WAVE file"),
        (riff(1, 1, 8000, 16, b"")[:-8], "no data chunk"),
        (riff(1, 1, 8000, 12, b"\0\0"), "format 1 of 12 bits"),
        (riff(1, 1, 8000, 0, b"\0\0"), "format 1 of 0 bits"),
        (riff(0x55, 1, 8000, 16, b"\0\0"), "format 85 of 16 bits"),
        (riff(0xFFFE, 1, 8000, 16, b"\0\0"), "format 65534"),
        (riff(1, 0, 8000, 16, b"\0\0"), "0 channels"),
        (riff(1, 1, 0, 16, b"\0\0"), "at 0 Hz"),
        (riff(1, 1, 400_000, 16, b"\0\0"), "at 400000 Hz"),
        (b"RIFF\0\0\0\0WAVEdata\2\0\0\0\0\0", "no format before the data"),
    ],
)
def test_what_cannot_be_played_says_why(save, data, reason):
    with pytest.raises(ConfigurationError, match=reason):
        read_wave(save(data))


def test_a_file_that_is_not_there_or_far_too_long_is_refused(save, tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError, match="No such file"):
        read_wave(tmp_path / "nothing.wav")
    monkeypatch.setattr(wave_file, "MAX_FILE_OCTETS", 10)
    with pytest.raises(ConfigurationError, match="longer than 10"):
        read_wave(save(bytes(11)))


@given(st.binary(max_size=80))
def test_no_octets_raise_anything_but_the_named_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.wav"
    path.write_bytes(b"RIFF\0\0\0\0WAVEfmt " + data)
    with contextlib.suppress(ConfigurationError):
        read_wave(path)


def test_what_is_written_others_can_read(tmp_path):
    path = tmp_path / "out.wav"
    writer = WaveWriter(path, 8000)
    writer.write(RAMP)
    writer.write(RAMP)
    writer.close()
    writer.close()
    with wave.open(str(path)) as reader:
        assert reader.getparams()[:4] == (1, 2, 8000, 400)
        assert reader.readframes(400) == RAMP.tobytes() * 2
    assert read_wave(path)[1].tolist() == RAMP.tolist() * 2


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    nowhere = tmp_path / "nowhere" / "heard.wav"
    with pytest.raises(ConfigurationError) as caught:
        WaveWriter(nowhere, 8000)
    assert str(caught.value) == f"cannot write {nowhere}: No such file or directory"


def test_silence_is_written_as_zeros(tmp_path):
    writer = WaveWriter(tmp_path / "out.wav", 8000)
    writer.write(RAMP[:1])
    writer.silence(3)
    writer.write(RAMP[:1])
    writer.close()
    assert read_wave(tmp_path / "out.wav")[1].tolist() == [RAMP[0], 0, 0, 0, RAMP[0]]


def test_a_length_no_header_can_hold_is_cut_there(tmp_path):
    writer = WaveWriter(tmp_path / "out.wav", 8000)
    writer.samples = 1 << 33
    writer.close()
    assert (tmp_path / "out.wav").read_bytes()[40:44] == b"\xa8\xff\xff\xff"


def test_resampling_to_the_same_rate_or_of_nothing_changes_nothing():
    assert resample(RAMP, 8000, 8000) is RAMP
    assert len(resample(RAMP[:0], 48_000, 8000)) == 0
    assert len(resample(RAMP[:1], 48_000, 8000)) == 1


def test_rounding_stays_within_sixteen_bits():
    assert rounded(np.array([1e9, -1e9, 0.6])).tolist() == [32767, -32768, 1]


@pytest.mark.parametrize("rate", [7999, 11_025, 22_050])
def test_resampling_keeps_pitch_level_and_length(rate):
    times = np.arange(rate) / rate
    samples = rounded(10_000 * np.sin(2 * np.pi * 3000 * times))
    result = resample(samples, rate, 8000)
    assert len(result) == 8000
    expected = 10_000 * np.sin(2 * np.pi * 3000 * np.arange(8000) / 8000)
    assert np.abs(result[400:-400] - expected[400:-400]).max() < 100
