"""RFC 3711, 6188 and 7714 vectors.

The RFCs print session keys; libsrtp takes master keys. So an independent implementation of key
derivation and transforms stands here: the printed values check it, and it checks `SrtpContext`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from callmeter import srtp
from callmeter.config import SrtpSuite
from callmeter.srtp.sdes import ALL_PROTECTED

VECTORS = Path(__file__).parents[1] / "vectors"


def load(name):
    return json.loads((VECTORS / name).read_text())


PACKETS = load("srtp_packets.json")
DERIVATION = load("srtp_cm_kdf.json")
GCM = load("srtp_gcm_rfc7714.json")["vectors"]


def name_of(row):
    return row.get("name") or "{source} {section} {suite}".format(**row)


# --- the independent implementation ---------------------------------------------------------------


def counter_mode(key, block, data):
    return Cipher(algorithms.AES(key), modes.CTR(block)).encryptor().update(data)


def derive(master_key, master_salt, label, length):
    """RFC 3711 section 4.3.3 with a key derivation rate of 0."""
    x = int.from_bytes(master_salt.ljust(14, b"\0"), "big") ^ (label << 48)
    return counter_mode(master_key, (x << 16).to_bytes(16, "big"), bytes(length))


def counter_mode_block(salt, ssrc, index):
    """RFC 3711 section 4.1.1."""
    value = int.from_bytes(salt, "big") << 16 ^ ssrc << 64 ^ index << 16
    return value.to_bytes(16, "big")


def gcm_nonce_rtp(salt, ssrc, roc, sequence):
    """RFC 7714 section 8.1."""
    plain = ssrc << 48 | roc << 16 | sequence
    return (plain ^ int.from_bytes(salt, "big")).to_bytes(12, "big")


def gcm_nonce_rtcp(salt, ssrc, index):
    """RFC 7714 section 9.1."""
    return ((ssrc << 48 | index) ^ int.from_bytes(salt, "big")).to_bytes(12, "big")


def header_octets(rtp):
    length = 12 + 4 * (rtp[0] & 15)
    if rtp[0] & 16:
        length += 4 + 4 * int.from_bytes(rtp[length + 2 : length + 4], "big")
    return length


def expected_srtp(profile, key, salt, rtp, roc=0):
    cut = header_octets(rtp)
    header, payload = rtp[:cut], rtp[cut:]
    ssrc, sequence = int.from_bytes(rtp[8:12], "big"), int.from_bytes(rtp[2:4], "big")
    session_salt = derive(key, salt, 2, profile.salt_length)
    session_key = derive(key, salt, 0, profile.key_length)
    if profile.aead:
        nonce = gcm_nonce_rtp(session_salt, ssrc, roc, sequence)
        return header + AESGCM(session_key).encrypt(nonce, payload, header)
    block = counter_mode_block(session_salt, ssrc, roc << 16 | sequence)
    covered = header + counter_mode(session_key, block, payload)
    tag = hmac.digest(derive(key, salt, 1, 20), covered + roc.to_bytes(4, "big"), "sha1")
    return covered + tag[: profile.rtp_tag_length]


def expected_srtcp(profile, key, salt, rtcp, index):
    ssrc = int.from_bytes(rtcp[4:8], "big")
    word = (index | 1 << 31).to_bytes(4, "big")
    session_salt = derive(key, salt, 5, profile.salt_length)
    session_key = derive(key, salt, 3, profile.key_length)
    if profile.aead:
        nonce = gcm_nonce_rtcp(session_salt, ssrc, index)
        return rtcp[:8] + AESGCM(session_key).encrypt(nonce, rtcp[8:], rtcp[:8] + word) + word
    block = counter_mode_block(session_salt, ssrc, index)
    covered = rtcp[:8] + counter_mode(session_key, block, rtcp[8:]) + word
    return covered + hmac.digest(derive(key, salt, 4, 20), covered, "sha1")[:10]


# --- printed values against it --------------------------------------------------------------------


@pytest.mark.parametrize("row", DERIVATION["keystream"], ids=name_of)
def test_the_printed_key_streams_come_out(row):
    block = counter_mode_block(
        bytes.fromhex(row["session_salt"]), row["ssrc"], row["roc"] << 16 | row["seq"]
    )
    assert block.hex() == row["iv"]
    for count, octets in row["keystream_blocks"].items():
        at = int.from_bytes(block, "big") + int(count, 16)
        stream = counter_mode(bytes.fromhex(row["session_key"]), at.to_bytes(16, "big"), bytes(16))
        assert stream.hex() == octets


LABELS = ["cipher_key", "auth_key", "cipher_salt"]
LABELS += [f"srtcp_{name}" for name in LABELS]


@pytest.mark.parametrize("row", DERIVATION["kdf"], ids=name_of)
def test_the_printed_session_keys_come_out(row):
    key, salt = bytes.fromhex(row["master_key"]), bytes.fromhex(row["master_salt"])
    for name, octets in row["derived"].items():
        assert derive(key, salt, LABELS.index(name), len(octets) // 2).hex() == octets


@pytest.mark.parametrize("row", GCM, ids=name_of)
def test_the_printed_gcm_packets_come_out(row):
    key, salt = bytes.fromhex(row["session_key"]), bytes.fromhex(row["session_salt"])
    plain = bytes.fromhex(row["plaintext"])
    if row["protocol"] == "SRTP":
        header = bytes.fromhex(row["aad"])
        ssrc, sequence = int.from_bytes(header[8:12], "big"), int.from_bytes(header[2:4], "big")
        nonce = gcm_nonce_rtp(salt, ssrc, row["roc"], sequence)
        packet = header + AESGCM(key).encrypt(nonce, plain, header)
        assert packet.hex() == row["srtp_packet"]
        tag_alone = AESGCM(key).encrypt(nonce, b"", header + plain)
        assert tag_alone.hex() == row["auth_only_tag"]
    else:
        header, word = bytes.fromhex(row["header"]), bytes.fromhex(row["esrtcp_word"])
        nonce = gcm_nonce_rtcp(salt, int.from_bytes(header[4:8], "big"), row["srtcp_index"])
        packet = header + AESGCM(key).encrypt(nonce, plain, header + word) + word
        assert packet.hex() == row["srtcp_packet"]
        clear = row["auth_only"]
        word = bytes.fromhex(clear["esrtcp_word"])
        tag = AESGCM(key).encrypt(nonce, b"", header + plain + word)
        assert (header + plain + tag + word).hex() == clear["packet"]
    assert nonce.hex() == row["iv"]


# --- it against the package -----------------------------------------------------------------------


def contexts(suite, key, salt, parameters=ALL_PROTECTED):
    keys = (srtp.profile(suite), srtp.MasterKey(key + salt), parameters)
    return srtp.SrtpContext(keys, "send"), srtp.SrtpContext(keys, "receive")


SUITES = [(row["suite"], row["master_key"], row["master_salt"]) for row in PACKETS["packets"]]
SUITES += [
    (row["suite"].replace("_80", "_32"), row["master_key"], row["master_salt"])
    for row in DERIVATION["kdf"]
]
RTP = bytes.fromhex("92e20001000000a0cafebabe1111111122222222bede000110aa0000") + bytes(160)
RTCP = bytes.fromhex("80c80006cafebabe") + bytes(range(20)) + bytes.fromhex("80c90001cafebabe")


@pytest.mark.parametrize(("suite", "key", "salt"), SUITES)
def test_a_context_derives_and_applies_the_session_keys_of_the_rfcs(suite, key, salt):
    key, salt = bytes.fromhex(key), bytes.fromhex(salt)
    profile = srtp.profile(suite)
    send, receive = contexts(suite, key, salt)
    packet = send.protect(RTP)
    assert packet == expected_srtp(profile, key, salt, RTP)
    assert receive.unprotect(packet) == RTP
    for index in (1, 2):
        packet = send.protect_rtcp(RTCP)
        assert packet == expected_srtcp(profile, key, salt, RTCP, index)
        assert receive.unprotect_rtcp(packet) == RTCP


@pytest.mark.parametrize("row", DERIVATION["kdf"], ids=name_of)
def test_a_context_uses_exactly_the_printed_session_keys(row):
    printed = {name: bytes.fromhex(octets) for name, octets in row["derived"].items()}
    send, _ = contexts(
        row["suite"], bytes.fromhex(row["master_key"]), bytes.fromhex(row["master_salt"])
    )
    packet = send.protect(RTP)
    tag = hmac.new(printed["auth_key"][:20], packet[:-10] + bytes(4), hashlib.sha1).digest()
    assert packet[-10:] == tag[:10]
    block = counter_mode_block(printed["cipher_salt"], 0xCAFEBABE, 1)
    assert counter_mode(printed["cipher_key"], block, packet[28:-10]) == RTP[28:]
    packet = send.protect_rtcp(RTCP)
    tag = hmac.new(printed["srtcp_auth_key"][:20], packet[:-10], hashlib.sha1).digest()
    assert packet[-10:] == tag[:10]
    block = counter_mode_block(printed["srtcp_cipher_salt"], 0xCAFEBABE, 1)
    assert counter_mode(printed["srtcp_cipher_key"], block, packet[8:-14]) == RTCP[8:]


@pytest.mark.parametrize("suite", ["AEAD_AES_128_GCM", "AEAD_AES_256_GCM"])
def test_clear_srtcp_under_gcm_carries_the_tag_before_the_index(suite):
    profile = srtp.profile(suite)
    key, salt = bytes(range(profile.key_length)), bytes(range(100, 112))
    send, receive = contexts(suite, key, salt, srtp.SessionParameters(unencrypted_srtcp=True))
    packet = send.protect_rtcp(RTCP)
    nonce = gcm_nonce_rtcp(derive(key, salt, 5, 12), 0xCAFEBABE, 1)
    word = bytes([0, 0, 0, 1])
    tag = AESGCM(derive(key, salt, 3, len(key))).encrypt(nonce, b"", RTCP + word)
    assert packet == RTCP + tag + word
    assert receive.unprotect_rtcp(packet) == RTCP


# --- whole packets --------------------------------------------------------------------------------


@pytest.mark.parametrize("row", PACKETS["packets"], ids=name_of)
class TestReferencePackets:
    def test_the_inline_key_is_master_key_and_salt(self, row):
        profile = srtp.profile(row["suite"])
        master = srtp.MasterKey.parse(f"inline:{row['sdes_inline']}", profile.master_length)
        assert master.key_and_salt.hex() == row["master_key"] + row["master_salt"]
        assert master.to_text() == f"inline:{row['sdes_inline']}"

    def test_both_directions_of_rtp_and_rtcp(self, row):
        key, salt = bytes.fromhex(row["master_key"]), bytes.fromhex(row["master_salt"])
        send, receive = contexts(row["suite"], key, salt)
        rtp, protected = bytes.fromhex(row["rtp"]), bytes.fromhex(row["srtp"])
        rtcp, protected_rtcp = bytes.fromhex(row["rtcp"]), bytes.fromhex(row["srtcp"])
        assert send.protect(rtp) == protected
        assert receive.unprotect(protected) == rtp
        assert send.protect_rtcp(rtcp) == protected_rtcp
        assert receive.unprotect_rtcp(protected_rtcp) == rtcp

    def test_a_replay_and_any_flipped_bit_are_refused(self, row):
        key, salt = bytes.fromhex(row["master_key"]), bytes.fromhex(row["master_salt"])
        _, receive = contexts(row["suite"], key, salt)
        protected = bytes.fromhex(row["srtp"])
        assert receive.unprotect(protected) is not None
        assert receive.unprotect(protected) is None
        assert receive.replayed == 1
        for bit in range(8 * len(protected)):
            _, receive = contexts(row["suite"], key, salt)
            flipped = bytearray(protected)
            flipped[bit // 8] ^= 1 << bit % 8
            assert receive.unprotect(bytes(flipped)) is None
            assert receive.packets == 0


def test_the_sequence_number_wraps_in_and_out_of_order():
    row = PACKETS["rollover"]
    key, salt = bytes.fromhex(row["master_key"]), bytes.fromhex(row["master_salt"])
    send, receive = contexts(row["suite"], key, salt)
    steps = [(bytes.fromhex(step["rtp"]), bytes.fromhex(step["srtp"])) for step in row["in_order"]]
    assert [send.protect(rtp) for rtp, _ in steps] == [packet for _, packet in steps]
    order = row["out_of_order_delivery"]
    assert [receive.unprotect(steps[i][1]) for i in order] == [steps[i][0] for i in order]
    assert receive.roc(0xCAFEBABE) == 1


def test_every_suite_has_its_vectors_and_is_supported():
    assert srtp.supported_suites() == frozenset(SrtpSuite)
    assert {srtp.profile(suite).suite for suite, _, _ in SUITES} == frozenset(SrtpSuite)
