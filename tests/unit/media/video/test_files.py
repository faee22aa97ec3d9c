from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import ConfigurationError
from callmeter.media.video import files
from callmeter.media.video.files import (
    AnnexBFile,
    AnnexBRecorder,
    IvfFile,
    IvfRecorder,
    access_units,
)
from callmeter.media.video.frames import EncodedFrame, VideoSource

KEY = bytes.fromhex("b05c009d012a4001f000") + b"intra"
INTER = bytes.fromhex("b10c00") + b"inter"
SPS = bytes.fromhex("6742c00dda0507e840000003004000000f03c50aa8")
PPS = bytes.fromhex("68ce3c80")
OTHER_PPS = bytes.fromhex("68ce3c81")
DELIMITER = b"\x09\x10"
IDR = b"\x65\x88intra"
SLICE = b"\x41\x9ainter"
LATER_SLICE = b"\x41\x20lower"


def ivf(*frames, head=b"DKIF", fourcc=b"VP80", rate=30, scale=1, place=32):
    header = struct.pack("<4sHH4sHHIIII", head, 0, place, fourcc, 320, 240, rate, scale, 0, 0)
    return header + b"".join(struct.pack("<IQ", len(data), at) + data for at, data in frames)


def annex_b(*units):
    return b"".join(b"\0\0\0\1" + unit for unit in units)


@pytest.fixture
def written(tmp_path):
    def write(data):
        path = tmp_path / "video"
        path.write_bytes(data)
        return path

    return write


def taken(source, count):
    return [source.next_frame() for _ in range(count)]


def test_an_ivf_file_is_sent_in_its_own_time(written):
    source = IvfFile(written(ivf((7, KEY), (8, INTER), (10, INTER))), loop=False)
    assert isinstance(source, VideoSource)
    source.prepare()
    assert taken(source, 4) == [
        EncodedFrame(KEY, 0, key_frame=True),
        EncodedFrame(INTER, 3000, key_frame=False),
        EncodedFrame(INTER, 9000, key_frame=False),
        None,
    ]
    assert source.codec == "VP8"
    assert source.size == (320, 240)


def test_a_file_starts_again_unless_it_is_told_not_to(written):
    source = IvfFile(written(ivf((0, KEY), (1, INTER))))
    assert [frame.timestamp for frame in taken(source, 5)] == [0, 3000, 6000, 9000, 12_000]
    assert source.frame_rate == 30
    assert repr(source).startswith("IvfFile('")


def test_a_key_frame_that_is_asked_for_is_the_last_one_of_the_file(written):
    source = IvfFile(written(ivf((0, KEY), *((number, INTER) for number in range(1, 30)))))
    taken(source, 20)
    source.request_key_frame()
    assert source.next_frame() == EncodedFrame(KEY, 60_000, key_frame=True)


def test_a_picture_alone_stands_for_a_second(written):
    source = IvfFile(written(ivf((0, KEY))))
    assert [frame.timestamp for frame in taken(source, 2)] == [0, 90_000]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "32 bytes"),
        (ivf((0, KEY), head=b"RIFF"), "not an IVF file"),
        (ivf((0, KEY), fourcc=b"VP90"), "VP90, not VP8"),
        (ivf((0, KEY), rate=0), "header is damaged"),
        (ivf((0, KEY), scale=0), "header is damaged"),
        (ivf((0, KEY), place=31), "header is damaged"),
        (ivf((0, KEY))[:-1], "cut off"),
        (ivf((0, KEY)) + b"\0" * 11, "12 bytes"),
        (ivf((0, KEY), (1, b"")), "empty"),
        (ivf(), "begins with a key frame"),
        (ivf((0, INTER)), "begins with a key frame"),
        (ivf((0, KEY), (0, INTER)), "do not grow"),
        (ivf((1, KEY), (0, INTER)), "do not grow"),
        (ivf((0, KEY), (1801, INTER)), "more than a minute"),
        (ivf((0, bytes(20))), "start code"),
    ],
)
def test_a_damaged_ivf_file_is_refused_in_words(written, data, message):
    path = written(data)
    with pytest.raises(ConfigurationError, match=message) as caught:
        IvfFile(path).prepare()
    assert str(caught.value).startswith(f"{path} cannot be sent: ")


def test_a_file_that_is_not_there_is_refused_in_words(tmp_path):
    with pytest.raises(ConfigurationError, match=r"cannot read .*No such file"):
        IvfFile(tmp_path / "none").prepare()


def test_files_have_a_largest_size_and_a_largest_number_of_frames(written, monkeypatch):
    path = written(ivf((0, KEY), (1, INTER)))
    monkeypatch.setattr(files, "MAX_FRAMES", 1)
    with pytest.raises(ConfigurationError, match="more than 1 frames"):
        IvfFile(path).prepare()
    with pytest.raises(ConfigurationError, match="more than 1 frames"):
        AnnexBFile(written(annex_b(SPS, IDR, SLICE))).prepare()
    monkeypatch.setattr(files, "MAX_FILE_OCTETS", 10)
    with pytest.raises(ConfigurationError, match="longer than 10 octets"):
        IvfFile(path).prepare()


def test_a_byte_stream_is_cut_where_pictures_begin():
    stream = annex_b(DELIMITER, SPS, PPS, IDR, LATER_SLICE, DELIMITER, SLICE, LATER_SLICE, SLICE)
    assert list(access_units(stream)) == [
        (annex_b(DELIMITER, SPS, PPS, IDR, LATER_SLICE), True),
        (annex_b(DELIMITER, SLICE, LATER_SLICE), False),
        (annex_b(SLICE), False),
    ]


def test_what_follows_the_last_picture_is_no_picture():
    assert list(access_units(annex_b(SPS, PPS))) == []
    assert list(access_units(annex_b(SPS, IDR, DELIMITER))) == [(annex_b(SPS, IDR), True)]


def test_a_key_frame_has_the_parameter_sets_it_needs():
    stream = annex_b(SPS, PPS, IDR, OTHER_PPS, SLICE, IDR)
    assert [unit for unit, _ in access_units(stream)] == [
        annex_b(SPS, PPS, IDR),
        annex_b(OTHER_PPS, SLICE),
        annex_b(SPS, PPS, OTHER_PPS, IDR),
    ]


def test_no_more_than_32_parameter_sets_are_kept():
    sets = [b"\x68" + bytes([number, 1]) for number in range(40)]
    stream = annex_b(SPS, PPS, IDR, *sets, SLICE, OTHER_PPS, SLICE, IDR)
    last = list(access_units(stream))[-1][0]
    assert last == annex_b(*sets[1:32], OTHER_PPS, IDR)


def test_a_byte_stream_is_sent_at_the_rate_that_was_asked_for(written):
    source = AnnexBFile(written(annex_b(SPS, PPS, IDR, SLICE, SLICE)), frame_rate=12.5)
    assert isinstance(source, VideoSource)
    assert [frame.timestamp for frame in taken(source, 4)] == [0, 7200, 14_400, 21_600]
    assert (source.codec, source.frame_rate, source.size) == ("H264", 12.5, (320, 240))


def test_a_rate_that_is_no_whole_number_of_units_does_not_drift(written):
    source = AnnexBFile(written(annex_b(SPS, PPS, IDR, SLICE, SLICE, SLICE)), frame_rate=29.97)
    assert [frame.timestamp for frame in taken(source, 4)] == [0, 3003, 6006, 9009]


@pytest.mark.parametrize("frame_rate", [0, -1, 241, float("nan")])
def test_a_frame_rate_out_of_range_is_refused(tmp_path, frame_rate):
    with pytest.raises(ConfigurationError, match="out of range"):
        AnnexBFile(tmp_path / "video", frame_rate=frame_rate)


@pytest.mark.parametrize("data", [b"", b"text", annex_b(SLICE, SPS, IDR)])
def test_a_byte_stream_without_a_key_frame_first_is_refused(written, data):
    with pytest.raises(ConfigurationError, match="cannot be sent: video begins with a key frame"):
        AnnexBFile(written(data)).prepare()


def test_what_is_recorded_as_ivf_can_be_sent_again(tmp_path):
    path = tmp_path / "heard.ivf"
    recorder = IvfRecorder(path)
    start = (1 << 32) - 3000
    frames = [
        EncodedFrame(data, start + 3000 * number, data == KEY)
        for number, data in enumerate((INTER, INTER, KEY, INTER, INTER))
    ]
    for frame in frames:
        recorder.write(frame)
    recorder.close()
    recorder.close()
    assert (recorder.frames, recorder.skipped) == (3, 2)
    assert path.read_bytes()[8:16] == b"VP80\x40\x01\xf0\x00"
    assert path.read_bytes()[24:28] == b"\3\0\0\0"
    source = IvfFile(path, loop=False)
    assert [frame.data for frame in taken(source, 3)] == [KEY, INTER, INTER]
    assert source.frame_rate == 30
    assert repr(recorder) == f"IvfRecorder({str(path)!r})"


@pytest.mark.parametrize("recorder", [IvfRecorder, AnnexBRecorder])
def test_a_recording_that_cannot_be_made_is_named(tmp_path, recorder):
    nowhere = tmp_path / "nowhere" / "seen"
    with pytest.raises(ConfigurationError) as caught:
        recorder(nowhere)
    assert str(caught.value) == f"cannot write {nowhere}: No such file or directory"


def test_a_recording_of_nothing_is_a_file_without_frames(tmp_path):
    path = tmp_path / "heard.ivf"
    IvfRecorder(path).close()
    assert path.read_bytes() == ivf(rate=90_000)[:12] + bytes(4) + ivf(rate=90_000)[16:]


def test_a_recording_that_cannot_be_completed_is_closed_all_the_same(tmp_path):
    recorder = IvfRecorder(tmp_path / "video.ivf")
    recorder.frames = 1 << 32
    with pytest.raises(OverflowError):
        recorder.close()
    assert recorder._file.closed


def test_what_is_recorded_as_a_byte_stream_can_be_sent_again(tmp_path):
    path = tmp_path / "seen.h264"
    recorder = AnnexBRecorder(path)
    for data, key in ((SLICE, False), (annex_b(SPS, PPS, IDR), True), (annex_b(SLICE), False)):
        recorder.write(EncodedFrame(data, 0, key))
    recorder.close()
    assert path.read_bytes() == annex_b(SPS, PPS, IDR, SLICE)
    assert (recorder.frames, recorder.skipped) == (2, 1)


@given(st.binary(max_size=60))
def test_any_octets_after_a_header_are_frames_or_refused(tmp_path_factory, octets):
    path = tmp_path_factory.getbasetemp() / "any.ivf"
    path.write_bytes(ivf((0, KEY)) + octets)
    try:
        IvfFile(path).prepare()
    except ConfigurationError as error:
        assert "cannot be sent" in str(error)  # noqa: PT017


@given(st.lists(st.sampled_from([SPS, PPS, DELIMITER, IDR, SLICE, LATER_SLICE, b"\x0c\xff"])))
def test_no_unit_of_a_byte_stream_is_lost_before_its_last_picture(units):
    pictures = b"".join(unit for unit, _ in access_units(annex_b(*units)))
    for kind in (IDR, SLICE, LATER_SLICE):
        assert pictures.count(kind) == units.count(kind)
