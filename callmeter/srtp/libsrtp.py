"""The only door to libsrtp.

pylibsrtp's public `Session` copies every packet twice and knows four suites. Its shared object
holds the whole of libsrtp 2.x, so there are three doors, and the best one that passes a known
answer test when this module is imported is taken:

`whole`
    Sessions are made through cffi's ABI mode with the structures of libsrtp's `srtp.h`: all
    suites, MKI, rollover counters, packets in clear or without a tag. Packets go in place through
    pylibsrtp's compiled binding.
`compiled`
    Sessions and packets by that compiled binding alone: four suites, in place.
`public`
    Nothing but the public class: four suites, copied.

Counter mode suites that are missing behind the door taken, or fail that test, are done by
`software`: with libsrtp 2.x the two of AES-192.

The batch lane runs `bytes(map(protect, handles, pointers, length_pointers))`: one status octet a
packet, 0 where it went well. `protect`, `unprotect` and `ffi` fit each other behind every door.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

import cffi
import pylibsrtp

from callmeter.config import SrtpSuite
from callmeter.srtp.known_answers import sound_suites
from callmeter.srtp.software import SupplementedDoor
from callmeter.srtp.stream_policy import MAX_TRAILER, Door, Session, Status, StreamPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callmeter.srtp.protection_profiles import ProtectionProfile

__all__ = [
    "DOOR",
    "IN_PLACE",
    "NATIVE",
    "CompiledDoor",
    "PublicDoor",
    "WholeDoor",
    "batch_calls",
    "choose_door",
    "copy_handle",
    "ffi",
    "find_binding",
    "protect",
    "protect_rtcp",
    "supported_suites",
    "unprotect",
    "unprotect_rtcp",
]

# --- the public class ---------------------------------------------------------------------------

_PUBLIC_PROFILES: Final = {
    SrtpSuite.AES_CM_128_HMAC_SHA1_80: "aes128_cm_sha1_80",
    SrtpSuite.AES_CM_128_HMAC_SHA1_32: "aes128_cm_sha1_32",
    SrtpSuite.AEAD_AES_128_GCM: "aead_aes_128_gcm",
    SrtpSuite.AEAD_AES_256_GCM: "aead_aes_256_gcm",
}

_PUBLIC_TEXTS: Final = {
    "authentication failure": Status.AUTH_FAIL,
    "replay check failed (bad index)": Status.REPLAY_FAIL,
    "replay check failed (index too old)": Status.REPLAY_OLD,
    "no appropriate context found": Status.NO_CTX,
    "unable to perform desired validation": Status.CANT_CHECK,
    "can't use key any more": Status.KEY_EXPIRED,
    "error parsing data": Status.PARSE_ERR,
}


def _by_public_method(method: Callable[[bytes], bytes], packet: bytes) -> tuple[int, bytes]:
    try:
        return Status.OK, method(packet)
    except pylibsrtp.Error as error:
        return _PUBLIC_TEXTS.get(str(error), Status.FAIL), b""
    except ValueError:
        # pylibsrtp's own length check does not raise its own error class
        return Status.BAD_PARAM, b""


class _PublicSession:
    """A `pylibsrtp.Session`; the session itself is the handle."""

    __slots__ = ("handle",)

    def __init__(self, handle: pylibsrtp.Session) -> None:
        self.handle: Any = handle

    def _run(self, name: str, packet: bytes) -> tuple[int, bytes]:
        if self.handle is None:
            return Status.NO_CTX, b""
        return _by_public_method(getattr(self.handle, name), packet)

    def protect(self, packet: bytes) -> tuple[int, bytes]:
        return self._run("protect", packet)

    def unprotect(self, packet: bytes) -> tuple[int, bytes]:
        return self._run("unprotect", packet)

    def protect_rtcp(self, packet: bytes) -> tuple[int, bytes]:
        return self._run("protect_rtcp", packet)

    def unprotect_rtcp(self, packet: bytes) -> tuple[int, bytes]:
        return self._run("unprotect_rtcp", packet)

    def roc(self, ssrc: int) -> int | None:  # noqa: ARG002  the public class has no such call
        return None

    def set_roc(self, ssrc: int, roc: int) -> bool:  # noqa: ARG002  neither this one
        return False

    def close(self) -> None:
        self.handle = None


class PublicDoor:
    """pylibsrtp's public class, and nothing behind it."""

    name = "public"
    whole = False
    suites = frozenset(_PUBLIC_PROFILES)

    def __init__(self) -> None:
        self.ffi = cffi.FFI()

    def open(self, policy: StreamPolicy) -> Session | None:
        """A session, or None for what the public class lacks."""
        name = _PUBLIC_PROFILES.get(policy.profile.suite)
        if name is None or not policy.usual:
            return None
        public = pylibsrtp.Policy
        try:
            native = public(
                key=policy.keys[0][0],
                ssrc_type=public.SSRC_ANY_OUTBOUND if policy.outbound else public.SSRC_ANY_INBOUND,
                srtp_profile=getattr(public, f"SRTP_PROFILE_{name.upper()}"),
            )
            native.window_size = policy.window
            return _PublicSession(pylibsrtp.Session(native))
        except (pylibsrtp.Error, ValueError):
            return None

    def call(self, name: str) -> Callable[[Any, Any, Any], int]:
        """A function with the shape of libsrtp's, over the public method of that name."""

        def run(handle: Any, pointer: Any, length: Any) -> int:
            packet = self.ffi.buffer(pointer, length[0])[:]
            status, result = _by_public_method(getattr(handle, name), packet)
            if status == Status.OK:
                self.ffi.memmove(pointer, result, len(result))
                length[0] = len(result)
            return status

        return run


# --- the compiled binding -----------------------------------------------------------------------


class _InPlaceSession:
    """A `srtp_t`, its packets worked on in place."""

    __slots__ = ("_calls", "_door", "_policy", "_session", "handle")

    def __init__(
        self,
        door: CompiledDoor,
        policy: StreamPolicy,
        session: Any,
        calls: Sequence[Callable[[Any, Any, Any], int]],
    ) -> None:
        self._door = door
        self._policy = policy
        self._session = door.ffi.gc(session, door.lib.srtp_dealloc)
        self._calls = calls
        self.handle: Any = None if policy.has_mki else self._session

    def _run(self, call: int, packet: bytes, room: int) -> tuple[int, bytes]:
        if self._session is None:
            return Status.NO_CTX, b""
        ffi = self._door.ffi
        buffer = ffi.new("unsigned char[]", len(packet) + room)
        ffi.memmove(buffer, packet, len(packet))
        length = ffi.new("int *", len(packet))
        status = self._calls[call](self._session, buffer, length)
        return status, b"" if status else bytes(ffi.buffer(buffer, length[0]))

    def protect(self, packet: bytes) -> tuple[int, bytes]:
        return self._run(0, packet, MAX_TRAILER)

    def unprotect(self, packet: bytes) -> tuple[int, bytes]:
        return self._run(1, packet, 0)

    def protect_rtcp(self, packet: bytes) -> tuple[int, bytes]:
        return self._run(2, packet, MAX_TRAILER)

    def unprotect_rtcp(self, packet: bytes) -> tuple[int, bytes]:
        return self._run(3, packet, 0)

    def roc(self, ssrc: int) -> int | None:
        return None if self._session is None else self._door.roc(self._session, ssrc)

    def set_roc(self, ssrc: int, roc: int) -> bool:
        return self._session is not None and self._door.set_roc(
            self._session, self._policy, ssrc, roc
        )

    def close(self) -> None:
        if self._session is not None:
            self._door.ffi.release(self._session)
            self._session = self.handle = None


class CompiledDoor:
    """pylibsrtp's compiled binding (`pylibsrtp._binding`), a private name: tested before use.

    Args:
        binding: The module.

    Raises:
        AttributeError: It is not the binding this was written for.
    """

    name = "compiled"
    whole = False

    def __init__(self, binding: Any) -> None:
        self.ffi = binding.ffi
        self.lib = binding.lib
        self.calls: tuple[Callable[[Any, Any, Any], int], ...] = (
            self.lib.srtp_protect,
            self.lib.srtp_unprotect,
            self.lib.srtp_protect_rtcp,
            self.lib.srtp_unprotect_rtcp,
        )
        self.suites = frozenset(_PUBLIC_PROFILES)

    def open(self, policy: StreamPolicy) -> Session | None:
        """A session, or None for what the binding lacks or libsrtp refuses."""
        name = _PUBLIC_PROFILES.get(policy.profile.suite)
        if name is None or not policy.usual:
            return None
        ffi, lib = self.ffi, self.lib
        native = ffi.new("srtp_policy_t *")
        number = getattr(lib, f"srtp_profile_{name}")
        lib.srtp_crypto_policy_set_from_profile_for_rtp(ffi.addressof(native.rtp), number)
        lib.srtp_crypto_policy_set_from_profile_for_rtcp(ffi.addressof(native.rtcp), number)
        native.ssrc.type = lib.ssrc_any_outbound if policy.outbound else lib.ssrc_any_inbound
        native.window_size = policy.window
        key = ffi.new("unsigned char[]", policy.keys[0][0])
        native.key = key
        out = ffi.new("srtp_t *")
        status = lib.srtp_create(out, native)
        ffi.buffer(key)[:] = bytes(len(key))
        return None if status else _InPlaceSession(self, policy, out[0], self.calls)

    def roc(self, session: Any, ssrc: int) -> int | None:  # noqa: ARG002  not in the binding
        """Not to be had here."""
        return None

    def set_roc(
        self,
        session: Any,  # noqa: ARG002  not in the binding
        policy: StreamPolicy,  # noqa: ARG002
        ssrc: int,  # noqa: ARG002
        roc: int,  # noqa: ARG002
    ) -> bool:
        """Not to be had here."""
        return False


# --- the whole library --------------------------------------------------------------------------

_SSRC_SPECIFIC: Final = 1
_SSRC_ANY_INBOUND: Final = 2
_SSRC_ANY_OUTBOUND: Final = 3
_CONFIDENTIALITY: Final = 1
_AUTHENTICATION: Final = 2
_NO_AUTHENTICATION_FUNCTION: Final = 0
_HMAC_SHA1: Final = 3
_HMAC_SHA1_KEY_LENGTH: Final = 20
_COUNTER_MODE_CIPHERS: Final = {16: 1, 24: 4, 32: 5}
_GCM_CIPHERS: Final = {16: 6, 32: 7}

_LIBSRTP_2: Final = """
typedef struct {
    unsigned int cipher_type; int cipher_key_len;
    unsigned int auth_type; int auth_key_len; int auth_tag_len;
    int sec_serv;
} crypto_policy;
typedef struct { unsigned char *key; unsigned char *mki_id; unsigned int mki_size; } master_key;
typedef struct {
    int ssrc_type; unsigned int ssrc_value;
    crypto_policy rtp; crypto_policy rtcp;
    unsigned char *key;
    master_key **keys; unsigned long num_master_keys;
    void *deprecated_ekt;
    unsigned long window_size;
    int allow_repeat_tx;
    int *enc_xtn_hdr; int enc_xtn_hdr_count;
    void *next;
} policy;
unsigned int srtp_get_version(void);
int srtp_create(void **session, const policy *policy);
int srtp_add_stream(void *session, const policy *policy);
int srtp_protect_mki(void *s, void *packet, int *length, unsigned int use_mki, unsigned int index);
int srtp_unprotect_mki(void *s, void *packet, int *length, unsigned int use_mki);
int srtp_protect_rtcp_mki(void *s, void *p, int *length, unsigned int use_mki, unsigned int index);
int srtp_unprotect_rtcp_mki(void *s, void *packet, int *length, unsigned int use_mki);
int srtp_set_stream_roc(void *session, unsigned int ssrc, unsigned int roc);
int srtp_get_stream_roc(void *session, unsigned int ssrc, unsigned int *roc);
"""

_SHARED_FIELDS: Final = ("key", "window_size", "allow_repeat_tx", "rtp", "rtcp")


class WholeDoor(CompiledDoor):
    """All of libsrtp 2.x, out of the shared object behind the compiled binding.

    Args:
        binding: The compiled binding; its `__file__` is the shared object.

    Raises:
        AttributeError: A symbol is missing.
        OSError: The file cannot be opened again.
        ImportError: The library is not libsrtp 2.x, or its policy has another layout.
    """

    name = "whole"
    whole = True

    def __init__(self, binding: Any) -> None:
        super().__init__(binding)
        abi: Any = cffi.FFI()
        abi.cdef(_LIBSRTP_2)
        library: Any = abi.dlopen(binding.__file__)
        self._abi, self._library = abi, library
        if library.srtp_get_version() >> 24 != 2:  # noqa: PLR2004  the major version in cdef
            raise ImportError("not libsrtp 2.x")
        if abi.sizeof("policy") != self.ffi.sizeof("srtp_policy_t") or any(
            abi.offsetof("policy", name) != self.ffi.offsetof("srtp_policy_t", name)
            for name in _SHARED_FIELDS
        ):
            raise ImportError("srtp_policy_t has another layout")
        protect_mki, unprotect_mki = library.srtp_protect_mki, library.srtp_unprotect_mki
        protect_rtcp_mki = library.srtp_protect_rtcp_mki
        unprotect_rtcp_mki = library.srtp_unprotect_rtcp_mki
        self._mki_calls: tuple[Callable[[Any, Any, Any], int], ...] = (
            lambda session, packet, length: protect_mki(session, packet, length, 1, 0),
            lambda session, packet, length: unprotect_mki(session, packet, length, 1),
            lambda session, packet, length: protect_rtcp_mki(session, packet, length, 1, 0),
            lambda session, packet, length: unprotect_rtcp_mki(session, packet, length, 1),
        )
        self._roc_calls = (library.srtp_get_stream_roc, library.srtp_set_stream_roc)
        self.suites = frozenset(SrtpSuite)

    def open(self, policy: StreamPolicy) -> Session | None:
        """A session, or None when libsrtp refuses the policy."""
        direction = _SSRC_ANY_OUTBOUND if policy.outbound else _SSRC_ANY_INBOUND
        out = self._abi.new("void **")
        if self._with_native(
            policy, direction, 0, lambda native: self._library.srtp_create(out, native)
        ):
            return None
        session = self.ffi.cast("srtp_t", out[0])
        return _InPlaceSession(
            self, policy, session, self._mki_calls if policy.has_mki else self.calls
        )

    def _with_native(
        self, policy: StreamPolicy, ssrc_type: int, ssrc: int, use: Callable[[Any], int]
    ) -> int:
        """Build a `srtp_policy_t`, use it, and wipe its keys."""
        abi = self._abi
        native = abi.new("policy *")
        native.ssrc_type, native.ssrc_value = ssrc_type, ssrc
        native.window_size = policy.window
        profile = policy.profile
        _describe(
            native.rtp,
            profile,
            profile.rtp_tag_length if policy.authenticate_rtp else 0,
            encrypt=policy.encrypt_rtp,
        )
        _describe(native.rtcp, profile, profile.rtcp_tag_length, encrypt=policy.encrypt_rtcp)
        keys = [abi.new("unsigned char[]", key) for key, _ in policy.keys]
        native.key = keys[0]
        # every object below must outlive the call
        identifiers = [abi.new("unsigned char[]", mki) for _, mki in policy.keys]
        rows = [
            abi.new("master_key *", (key, identifier, len(mki)))
            for key, identifier, (_, mki) in zip(keys, identifiers, policy.keys, strict=True)
        ]
        table = abi.new("master_key *[]", rows)
        if policy.has_mki:
            native.key = abi.NULL
            native.keys, native.num_master_keys = table, len(rows)
        status: int = use(native)
        for key in keys:
            abi.buffer(key)[:] = bytes(len(key))
        return status

    def roc(self, session: Any, ssrc: int) -> int | None:
        """The stream's rollover counter."""
        out = self._abi.new("unsigned int *")
        return None if self._roc_calls[0](session, ssrc, out) else int(out[0])

    def set_roc(self, session: Any, policy: StreamPolicy, ssrc: int, roc: int) -> bool:
        """Set it, making the stream first where no packet has."""
        set_stream_roc = self._roc_calls[1]
        if not set_stream_roc(session, ssrc, roc):
            return True
        self._with_native(
            policy,
            _SSRC_SPECIFIC,
            ssrc,
            lambda native: self._library.srtp_add_stream(session, native),
        )
        return not set_stream_roc(session, ssrc, roc)


def _describe(native: Any, profile: ProtectionProfile, tag: int, *, encrypt: bool) -> None:
    ciphers = _GCM_CIPHERS if profile.aead else _COUNTER_MODE_CIPHERS
    native.cipher_type = ciphers[profile.key_length]
    native.cipher_key_len = profile.master_length
    hashed = bool(tag) and not profile.aead
    native.auth_type = _HMAC_SHA1 if hashed else _NO_AUTHENTICATION_FUNCTION
    native.auth_key_len = _HMAC_SHA1_KEY_LENGTH if hashed else 0
    native.auth_tag_len = tag
    native.sec_serv = _CONFIDENTIALITY * encrypt | _AUTHENTICATION * bool(tag)


# --- which door ---------------------------------------------------------------------------------


def find_binding(name: str = "pylibsrtp._binding") -> Any:
    """The compiled binding, or None where pylibsrtp was built another way."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def choose_door(binding: Any) -> CompiledDoor | PublicDoor:
    """The best door that passes the known answer test.

    Args:
        binding: pylibsrtp's compiled binding, or None.
    """
    if binding is not None:
        for kind in (WholeDoor, CompiledDoor):
            try:
                door = kind(binding)
                door.suites = sound_suites(door)
            except (AttributeError, ImportError, OSError, TypeError, ValueError, cffi.FFIError):
                continue
            if SrtpSuite.AES_CM_128_HMAC_SHA1_80 in door.suites:
                return door
    public = PublicDoor()
    public.suites = sound_suites(public)
    return public


NATIVE: Final = choose_door(find_binding())
"""The way to libsrtp; the batch calls are its."""

DOOR: Final[Door] = SupplementedDoor(NATIVE)
"""The door that is used unless another is passed in: libsrtp, and software for what it lacks."""

IN_PLACE: Final = isinstance(NATIVE, CompiledDoor)
"""Whether the batch calls work in place in C."""

ffi: Final[Any] = NATIVE.ffi
"""Makes the pointers the batch calls take."""


def batch_calls(door: CompiledDoor | PublicDoor) -> tuple[Callable[[Any, Any, Any], int], ...]:
    """`protect`, `unprotect`, `protect_rtcp`, `unprotect_rtcp` of a door.

    Each takes a session's handle, a pointer to the packet and a pointer to its length (an int,
    set to the new length) and returns a status. A packet to protect needs `MAX_TRAILER` octets
    of room behind it.
    """
    if isinstance(door, CompiledDoor):
        return door.calls
    return tuple(map(door.call, ("protect", "unprotect", "protect_rtcp", "unprotect_rtcp")))


protect, unprotect, protect_rtcp, unprotect_rtcp = batch_calls(NATIVE)


def copy_handle(handle: Any) -> Any:
    """The same session by a new object, which does not keep it alive.

    Objects that are made one after the other lie side by side, so that a batch finds them quickly.
    """
    return ffi.cast("srtp_t", handle) if IN_PLACE and handle is not None else handle


def place_of(handle: Any) -> int:
    """Where in memory a session is; 0 for those that are no address."""
    return int(ffi.cast("uintptr_t", handle)) if IN_PLACE and handle is not None else 0


def supported_suites(door: Door = DOOR) -> frozenset[SrtpSuite]:
    """The suites that passed the known answer test when the door was chosen."""
    return door.suites
