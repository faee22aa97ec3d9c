"""tshark's dissectors of VP8 and H.264 say the same of a payload as is read here."""

from __future__ import annotations

import struct

import pytest

from callmeter.media.video import TestPattern
from callmeter.rtp import h264, pack_header, vp8
from peers.tshark import Decoded

pytestmark = pytest.mark.interop("tshark")

PORT = 5004
PAYLOAD_TYPE = 96
RAW_IP = 101
KEY_FRAME = bytes.fromhex("b05c009d012a4001f000") + bytes(30)
INTER_FRAME = bytes.fromhex("b10c00") + bytes(30)
# Every flag of the second octet, with picture identifiers of 7 and of 15 bits.
DESCRIPTORS = [
    bytes([0x80 | start, flags])
    + bytes.fromhex(identifier if flags & 0x80 else "")
    + (b"\x05" if flags & 0x40 else b"")
    + (b"\x43" if flags & 0x30 else b"")
    for start in (0x10, 0x00, 0x12, 0x30)
    for flags in range(0, 0x100, 0x10)
    for identifier in ("11", "b322")
]


@pytest.fixture
def dissected(tmp_path):
    """What tshark says of payloads: the named fields of each."""

    def read(codec, payloads, *fields):
        path = tmp_path / "video.pcap"
        path.write_bytes(capture(payloads))
        decoded = Decoded(path, (), (PORT,))
        chosen = decoded._run(
            *("-d", f"rtp.pt=={PAYLOAD_TYPE},{codec}", "-T", "fields", "-E", "separator=/t"),
            *(part for name in fields for part in ("-e", name)),
        )
        return [line.split("\t") for line in chosen.splitlines()]

    return read


def capture(payloads):
    """A capture file with a packet for each."""
    octets = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, RAW_IP)
    for number, payload in enumerate(payloads):
        packet = pack_header(PAYLOAD_TYPE, number, 0, 7) + payload
        packet = struct.pack("!HHHH", 40_000, PORT, 8 + len(packet), 0) + packet
        head = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(packet), 0, 0, 64, 17, 0, 0, 0)
        length = len(head) + len(packet)
        octets += struct.pack("<IIII", number, 0, length, length) + head + packet
    return octets


def test_every_form_of_vp8_descriptor_is_read_as_tshark_reads_it(dissected):
    frames = (KEY_FRAME, INTER_FRAME)
    payloads = [head + frame for head in [b"\x10", b"\x00", *DESCRIPTORS] for frame in frames]
    names = ("s", "partid", "pictureid")
    rows = dissected(
        "vp8",
        payloads,
        *(f"vp8.pld.{name}" for name in names),
        "vp8.hdr.frametype",
        "vp8.keyframe.width",
        "vp8.keyframe.height",
    )
    for payload, row in zip(payloads, rows, strict=True):
        start, partition, picture_id, inter, *size = row
        told = vp8.describe(payload)
        assert told.starts_frame == (start == "1" and partition == "0")
        assert told.picture_id == (int(picture_id) if picture_id else None)
        if told.starts_frame:
            assert told.key_frame == (inter == "0")
        assert told.size == (tuple(map(int, size)) if told.starts_frame and all(size) else None)


def test_vp8_frames_of_the_pattern_are_numbered_and_started_for_tshark_too(dissected):
    source = TestPattern()
    frames = [vp8.packetize(source.next_frame().data, 500, 32_760 + number) for number in range(40)]
    rows = dissected(
        "vp8", [payload for frame in frames for payload in frame], "vp8.pld.s", "vp8.pld.pictureid"
    )
    wanted = [
        [str(int(place == 0)), str((32_760 + number) % (1 << 15))]
        for number, frame in enumerate(frames)
        for place in range(len(frame))
    ]
    assert rows == wanted


@pytest.mark.parametrize("limit", [300, 1200])
def test_h264_payloads_are_read_as_tshark_reads_them(dissected, limit):
    source = TestPattern(codec="H264")
    payloads = [
        payload for _ in range(40) for payload in h264.packetize(source.next_frame().data, limit)
    ]
    rows = dissected(
        "h264",
        payloads,
        "h264.nal_unit_hdr",
        "h264.nal_unit_type",
        "h264.start.bit",
        "h264.first_mb_in_slice",
        "h264.pic_width_in_mbs_minus1",
    )
    sizes = 0
    for payload, (headers, inner, begins, first, width) in zip(payloads, rows, strict=True):
        told = h264.describe(payload)
        kind, *units = map(int, [*headers.split(","), *filter(None, [inner])])
        kinds = set(units or [kind])
        assert (kind == 28) == bool(begins)
        assert told.key_frame == (True if kinds & {5, 7} else False if 1 in kinds else None)
        if first:
            assert told.starts_frame == (first == "0")
        assert (told.size is not None) == bool(width)
        sizes += told.size == (320, 240) and width == "19"
    assert sizes == 2
