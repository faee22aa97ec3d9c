from __future__ import annotations

from types import SimpleNamespace

import pylibsrtp
import pytest

from callmeter.config import SrtpSuite
from callmeter.srtp import libsrtp
from callmeter.srtp.protection_profiles import SUPPORTED, for_suite
from callmeter.srtp.stream_policy import MAX_TRAILER, Status, StreamPolicy

BINDING = libsrtp.find_binding()
WHOLE = libsrtp.WholeDoor(BINDING)
COMPILED = libsrtp.CompiledDoor(BINDING)
PUBLIC = libsrtp.PublicDoor()
DOORS = [WHOLE, COMPILED, PUBLIC]
EVERY_DOOR = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)

CM_80 = for_suite(SrtpSuite.AES_CM_128_HMAC_SHA1_80)
SSRC = 0xCAFEBABE


def rtp(sequence, payload=bytes(160)):
    return (
        bytes.fromhex("8000")
        + sequence.to_bytes(2, "big")
        + bytes.fromhex("00000000cafebabe")
        + payload
    )


RTCP = bytes.fromhex("80c80006cafebabe") + bytes(20)


def policy(*, outbound=True, profile=CM_80, mki=b"", **changes):
    key = bytes(range(profile.master_length))
    return StreamPolicy(profile, ((key, mki),), outbound, **changes)


def pair(door, **changes):
    return door.open(policy(outbound=True, **changes)), door.open(policy(outbound=False, **changes))


class Without:
    """A library that lacks some symbols."""

    def __init__(self, lib, *missing):
        self._lib = lib
        self._missing = missing

    def __getattr__(self, name):
        if name in self._missing:
            raise AttributeError(name)
        return getattr(self._lib, name)


class With:
    """A library with other functions under some names."""

    def __init__(self, lib, **others):
        self._lib = lib
        self.__dict__.update(others)

    def __getattr__(self, name):
        return getattr(self._lib, name)


def binding(lib=BINDING.lib, file=BINDING.__file__, ffi=BINDING.ffi):
    return SimpleNamespace(lib=lib, ffi=ffi, __file__=file)


class TestEveryDoor:
    @EVERY_DOOR
    def test_packets_go_there_and_back(self, door):
        send, receive = pair(door)
        for sequence in range(3):
            status, packet = send.protect(rtp(sequence))
            assert (status, len(packet)) == (0, 182)
            assert receive.unprotect(packet) == (0, rtp(sequence))
        status, packet = send.protect_rtcp(RTCP)
        assert (status, len(packet)) == (0, len(RTCP) + 14)
        assert receive.unprotect_rtcp(packet) == (0, RTCP)

    @EVERY_DOOR
    def test_failures_are_told_apart(self, door):
        send, receive = pair(door, window=128)
        packets = [send.protect(rtp(sequence))[1] for sequence in range(200)]
        assert receive.unprotect(packets[150])[0] == Status.OK
        assert receive.unprotect(packets[150]) == (Status.REPLAY_FAIL, b"")
        assert receive.unprotect(packets[0]) == (Status.REPLAY_OLD, b"")
        assert receive.unprotect(packets[199][:-1] + b"?") == (Status.AUTH_FAIL, b"")
        assert send.protect(rtp(7))[0] in {Status.REPLAY_FAIL, Status.REPLAY_OLD}

    @EVERY_DOOR
    def test_the_window_is_the_one_asked_for(self, door):
        send, receive = pair(door, window=2048)
        packets = [send.protect(rtp(sequence))[1] for sequence in range(2000)]
        assert receive.unprotect(packets[1999])[0] == Status.OK
        assert receive.unprotect(packets[0])[0] == Status.OK

    @EVERY_DOOR
    def test_a_policy_libsrtp_refuses_gives_no_session(self, door):
        assert door.open(policy(window=0x8000)) is None

    @EVERY_DOOR
    def test_a_closed_session_passes_nothing_and_closes_again(self, door):
        session = door.open(policy())
        assert session.handle is not None
        session.close()
        session.close()
        assert session.handle is None
        assert session.protect(rtp(1)) == (Status.NO_CTX, b"")
        assert session.unprotect_rtcp(RTCP) == (Status.NO_CTX, b"")
        assert session.roc(SSRC) is None
        assert not session.set_roc(SSRC, 1)

    @EVERY_DOOR
    def test_the_batch_calls_do_the_same_in_place(self, door):
        protect, unprotect, protect_rtcp, unprotect_rtcp = libsrtp.batch_calls(door)
        sessions = [door.open(policy(outbound=True)) for _ in range(3)]
        receivers = [door.open(policy(outbound=False)) for _ in range(3)]
        slots = [door.ffi.new("char[]", rtp(9) + bytes(MAX_TRAILER)) for _ in sessions]
        lengths = [door.ffi.new("int *", 172) for _ in sessions]
        handles = [session.handle for session in sessions]
        assert bytes(map(protect, handles, slots, lengths)) == bytes(3)
        assert [length[0] for length in lengths] == [182] * 3
        slots[1][181] = bytes([slots[1][181][0] ^ 1])
        handles = [session.handle for session in receivers]
        assert bytes(map(unprotect, handles, slots, lengths)) == bytes([0, Status.AUTH_FAIL, 0])
        assert door.ffi.buffer(slots[2], lengths[2][0])[:] == rtp(9)
        slot = door.ffi.new("char[]", RTCP + bytes(MAX_TRAILER))
        length = door.ffi.new("int *", len(RTCP))
        assert protect_rtcp(sessions[0].handle, slot, length) == 0
        assert unprotect_rtcp(receivers[0].handle, slot, length) == 0
        assert door.ffi.buffer(slot, length[0])[:] == RTCP


class TestWholeDoor:
    @pytest.mark.parametrize("profile", SUPPORTED, ids=lambda row: row.name)
    def test_it_opens_every_suite(self, profile):
        send, receive = pair(WHOLE, profile=profile)
        status, packet = send.protect(rtp(1))
        assert (status, len(packet)) == (0, 172 + profile.rtp_tag_length)
        assert receive.unprotect(packet) == (0, rtp(1))
        status, packet = send.protect_rtcp(RTCP)
        assert (status, len(packet)) == (0, len(RTCP) + 4 + profile.rtcp_tag_length)
        assert receive.unprotect_rtcp(packet) == (0, RTCP)

    def test_clear_srtp_keeps_its_tag(self):
        send, receive = pair(WHOLE, encrypt_rtp=False)
        packet = send.protect(rtp(1))[1]
        assert packet[:172] == rtp(1)
        assert len(packet) == 182
        assert receive.unprotect(packet) == (0, rtp(1))
        assert receive.unprotect(send.protect(rtp(2))[1][:-1] + b"?")[0] == Status.AUTH_FAIL

    def test_srtp_without_a_tag_is_encrypted_all_the_same(self):
        send, receive = pair(WHOLE, authenticate_rtp=False)
        packet = send.protect(rtp(1))[1]
        assert len(packet) == 172
        assert packet[12:] != bytes(160)
        assert receive.unprotect(packet) == (0, rtp(1))
        assert len(send.protect_rtcp(RTCP)[1]) == len(RTCP) + 14

    def test_clear_srtcp_has_the_e_bit_off_and_a_tag(self):
        send, receive = pair(WHOLE, encrypt_rtcp=False)
        packet = send.protect_rtcp(RTCP)[1]
        assert packet[: len(RTCP)] == RTCP
        assert packet[len(RTCP) : len(RTCP) + 4] == bytes([0, 0, 0, 1])
        assert receive.unprotect_rtcp(packet) == (0, RTCP)

    def test_srtcp_clear_on_one_side_only_cannot_be_checked(self):
        send = WHOLE.open(policy(outbound=True, encrypt_rtcp=False))
        receive = WHOLE.open(policy(outbound=False))
        assert receive.unprotect_rtcp(send.protect_rtcp(RTCP)[1])[0] == Status.CANT_CHECK

    def test_packets_with_an_mki_carry_it_and_have_no_batch_handle(self):
        send, receive = pair(WHOLE, mki=b"\xaa\xbb")
        assert send.handle is None
        packet = send.protect(rtp(1))[1]
        assert len(packet) == 184
        assert packet[172:174] == b"\xaa\xbb"  # before the tag, RFC 3711 section 3.1
        assert receive.unprotect(packet) == (0, rtp(1))
        packet = send.protect_rtcp(RTCP)[1]
        assert packet[-12:-10] == b"\xaa\xbb"
        assert receive.unprotect_rtcp(packet) == (0, RTCP)
        other = packet[:-12] + b"\xaa\xbc" + packet[-10:]
        assert receive.unprotect_rtcp(other)[0] == Status.BAD_MKI

    def test_the_mki_chooses_the_key(self):
        keys = ((bytes(30), b"\1"), (bytes([7]) * 30, b"\2"))
        receive = WHOLE.open(StreamPolicy(CM_80, keys, outbound=False))
        for sequence, key in enumerate(keys):
            send = WHOLE.open(StreamPolicy(CM_80, (key,), outbound=True))
            packet = send.protect(rtp(sequence))[1]
            assert packet[172:173] == key[1]
            assert receive.unprotect(packet) == (0, rtp(sequence))

    def test_a_late_joiner_is_told_the_rollover_counter(self):
        send, late = pair(WHOLE)
        for sequence in (65534, 65535, 0, 1):
            status, packet = send.protect(rtp(sequence))
            assert status == 0
        assert send.roc(SSRC) == 1
        assert late.roc(SSRC) is None
        assert late.unprotect(packet)[0] == Status.AUTH_FAIL
        assert late.set_roc(SSRC, 1)
        assert late.unprotect(packet) == (0, rtp(1))
        assert late.roc(SSRC) == 1

    def test_the_counter_of_a_running_stream_can_be_set(self):
        send, receive = pair(WHOLE)
        assert receive.unprotect(send.protect(rtp(5))[1])[0] == 0
        assert send.set_roc(SSRC, 3)
        assert receive.set_roc(SSRC, 3)
        assert receive.unprotect(send.protect(rtp(6))[1]) == (0, rtp(6))
        assert send.roc(SSRC) == 3

    def test_the_counter_of_a_stream_libsrtp_will_not_make_cannot_be_set(self):
        door = libsrtp.WholeDoor(BINDING)
        session = door.open(policy())
        door._library = With(door._library, srtp_add_stream=lambda session, native: 1)
        assert not session.set_roc(SSRC, 1)

    def test_keys_are_wiped_from_the_policy_after_use(self):
        door = libsrtp.WholeDoor(BINDING)
        seen = []
        original = door._library.srtp_create

        def create(out, native):
            seen.append(native)
            assert door._abi.buffer(native.key, 30)[:] == bytes(range(30))
            return original(out, native)

        door._library = With(door._library, srtp_create=create)
        keys = []
        new = door._abi.new
        door._abi = With(
            door._abi, new=lambda kind, *value: keys.append(new(kind, *value)) or keys[-1]
        )
        assert door.open(policy()) is not None
        assert seen
        # cffi puts a NUL behind the octets it copies
        octets = [
            bytes(door._abi.buffer(key))
            for key in keys
            if len(door._abi.buffer(key)) == len(bytes(31))
        ]
        assert octets == [bytes(31)]


class TestLesserDoors:
    @pytest.mark.parametrize("door", [COMPILED, PUBLIC], ids=lambda door: door.name)
    @pytest.mark.parametrize(
        "changes",
        [
            {"encrypt_rtp": False},
            {"encrypt_rtcp": False},
            {"authenticate_rtp": False},
            {"mki": b"\1"},
            {"profile": for_suite(SrtpSuite.AES_256_CM_HMAC_SHA1_80)},
        ],
        ids=str,
    )
    def test_what_they_lack_they_refuse(self, door, changes):
        assert door.open(policy(**changes)) is None

    @pytest.mark.parametrize("door", [COMPILED, PUBLIC], ids=lambda door: door.name)
    def test_they_know_nothing_of_rollover_counters(self, door):
        send, _ = pair(door)
        send.protect(rtp(1))
        assert send.roc(SSRC) is None
        assert not send.set_roc(SSRC, 1)

    def test_a_packet_too_long_for_the_public_class_is_a_status(self):
        send, receive = pair(PUBLIC)
        assert send.protect(rtp(1, bytes(1400))) == (Status.BAD_PARAM, b"")
        assert receive.unprotect(bytes(1501)) == (Status.BAD_PARAM, b"")

    def test_an_error_text_nobody_knows_is_a_plain_failure(self):
        def fail(packet):
            raise pylibsrtp.Error("something new")

        session = PUBLIC.open(policy())
        session.handle = SimpleNamespace(protect=fail)
        assert session.protect(rtp(1)) == (Status.FAIL, b"")


class TestChoosing:
    def test_the_whole_library_is_taken_where_it_is_there(self):
        assert libsrtp.choose_door(BINDING).name == "whole"

    def test_without_the_binding_the_public_class_is_left(self):
        assert libsrtp.find_binding("pylibsrtp.no_such_module") is None
        door = libsrtp.choose_door(None)
        assert door.name == "public"
        assert len(libsrtp.supported_suites(door)) == 4

    def test_a_missing_function_costs_the_in_place_doors(self):
        lib = Without(BINDING.lib, "srtp_unprotect_rtcp")
        assert libsrtp.choose_door(binding(lib)).name == "public"

    def test_a_shared_object_that_cannot_be_opened_costs_the_whole_door(self):
        assert libsrtp.choose_door(binding(file="/nonexistent/libsrtp.so")).name == "compiled"

    def test_another_layout_costs_the_whole_door(self):
        ffi = With(BINDING.ffi, sizeof=lambda name: 136)
        assert libsrtp.choose_door(binding(ffi=ffi)).name == "compiled"
        ffi = With(BINDING.ffi, offsetof=lambda name, field: 0)
        assert libsrtp.choose_door(binding(ffi=ffi)).name == "compiled"

    def test_another_major_version_costs_the_whole_door(self, monkeypatch):
        original = libsrtp.cffi.FFI

        def dlopen(ffi, file):
            return With(original.dlopen(ffi, file), srtp_get_version=lambda: 0x3000000)

        monkeypatch.setattr(libsrtp.cffi, "FFI", type("FFI", (original,), {"dlopen": dlopen}))
        assert libsrtp.choose_door(BINDING).name == "compiled"

    def test_wrong_packets_cost_the_in_place_doors(self):
        lib = With(BINDING.lib, srtp_protect=lambda session, packet, length: 0)
        assert libsrtp.choose_door(binding(lib)).name == "public"

    def test_the_module_level_calls_belong_to_the_chosen_door(self):
        assert libsrtp.IN_PLACE
        assert libsrtp.NATIVE.name == libsrtp.DOOR.name == "whole"
        assert libsrtp.protect is BINDING.lib.srtp_protect
        assert libsrtp.ffi is BINDING.ffi
        assert libsrtp.NATIVE.suites <= libsrtp.supported_suites()


def test_a_copied_handle_is_the_same_session():
    session = libsrtp.NATIVE.open(policy())
    copy = libsrtp.copy_handle(session.handle)
    assert copy == session.handle
    assert copy is not session.handle
    assert libsrtp.copy_handle(None) is None
