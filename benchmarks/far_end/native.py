"""The C side of the media benchmarks: built by gcc, on the libsrtp that pylibsrtp carries.

Roles, each in a process of its own that speaks JSON lines:

    python benchmarks/far_end/native.py engine --calls 1000 --seconds 5
    python benchmarks/far_end/native.py far --calls 1000 --seconds 5 --target 127.0.0.1:40000
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pylibsrtp
from pylibsrtp import Policy, Session
from pylibsrtp._binding import ffi

SOURCE = Path(__file__).with_name("stream_engine.c")
LOOPBACK = "127.0.0.1"
TICK_S = 0.02
PAYLOAD = 160
REST_TICKS = 15
CHECK_EVERY = 32
"""One packet in so many is decrypted by a far end."""
BUFFER_OCTETS = 1 << 22
SUITES = {
    "AES_CM_128_HMAC_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30),
    "AES_CM_128_HMAC_SHA1_32": (Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 30),
    "AEAD_AES_128_GCM": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28),
}
FIELDS = (
    "sent", "received", "refused", "strange", "rtcp_received", "lost", "duplicates",
    "ticks", "late", "latest", "cpu", "jitter",
)  # fmt: skip


class Setup(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("streams", "sockets", "parts", "payload", "rtcp")),
        ("check_every", ctypes.c_int),
        ("descriptors", ctypes.c_void_p),
        ("socket_of", ctypes.c_void_p),
        ("peers", ctypes.c_char_p),
        ("ssrc_out", ctypes.c_void_p),
        ("ssrc_in", ctypes.c_void_p),
        ("sessions_out", ctypes.c_void_p),
        ("sessions_in", ctypes.c_void_p),
        ("counts", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in ("protect", "unprotect", "protect_rtcp")),
        ("ahead", ctypes.c_void_p),
        ("ahead_length", ctypes.c_int),
    ]


class Outcome(ctypes.Structure):
    _fields_ = [(name, ctypes.c_double) for name in FIELDS]


def build() -> ctypes.CDLL:
    """Compile the C file; needs gcc."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        sys.exit("no C compiler: install gcc")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "stream_engine.so")
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(target), str(SOURCE)]
        subprocess.run(command, check=True)
        return ctypes.CDLL(str(target))


def libsrtp_call(name: str) -> int:
    library = ctypes.CDLL(str(Path(pylibsrtp.__file__).with_name("_binding.abi3.so")))
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value


def session(suite: str, key: bytes, *, outbound: bool) -> Session:
    profile, _ = SUITES[suite]
    direction = Policy.SSRC_ANY_OUTBOUND if outbound else Policy.SSRC_ANY_INBOUND
    return Session(Policy(key=key, ssrc_type=direction, srtp_profile=profile))


def pointer(made: Session | None) -> int | None:
    return None if made is None else int(ffi.cast("uintptr_t", made._srtp[0]))


def open_sockets(count: int, *, port: int = 0) -> list[socket.socket]:
    opened = []
    for _ in range(count):
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.setblocking(False)  # noqa: FBT003  the socket module's own
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            bound.setsockopt(socket.SOL_SOCKET, option, BUFFER_OCTETS)
        bound.bind((LOOPBACK, port))
        opened.append(bound)
    return opened


class Streams:
    """Streams that are ready to run.

    Args:
        library: What `build` gave.
        sockets: The streams are spread over them in blocks.
        peers: Where each stream sends to.
        keys: Sessions of each, sending and receiving; None is plain RTP.
        ssrc: Of each, sent and received; a received 0 is learned.
        seconds: How long they run.
        parts: Steps of a tick of 20 ms.
        far: As the far end of a measurement: all packets are encrypted here and now, one of 32
            that come is decrypted, and each stream sends a report every 5 s.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        *,
        sockets: list[socket.socket],
        peers: list[tuple[str, int]],
        keys: list[tuple[Session | None, Session | None]],
        ssrc: list[tuple[int, int]],
        seconds: float,
        parts: int,
        far: bool,
    ) -> None:
        self.library = library
        self.ticks = round(seconds / TICK_S)
        count = len(peers)
        block = [number * len(sockets) // count for number in range(count)]
        integers = ctypes.c_int * count
        words = ctypes.c_uint32 * count
        pointers = ctypes.c_void_p * count
        self.keys = keys
        self.held = [
            (ctypes.c_int * len(sockets))(*(bound.fileno() for bound in sockets)),
            integers(*block),
            b"".join(
                struct.pack("<H", socket.AF_INET)
                + struct.pack("!H", port)
                + socket.inet_aton(host)
                + bytes(8)
                for host, port in peers
            ),
            words(*(socket.htonl(sent) for sent, _ in ssrc)),
            words(*(socket.htonl(received) for _, received in ssrc)),
            pointers(*(pointer(sending) for sending, _ in keys)),
            pointers(*(pointer(receiving) for _, receiving in keys)),
            words(),
        ]
        addresses = [
            item if isinstance(item, bytes) else ctypes.addressof(item) for item in self.held
        ]
        calls = map(libsrtp_call, ("srtp_protect", "srtp_unprotect", "srtp_protect_rtcp"))
        self.setup = Setup(
            count, len(sockets), parts, PAYLOAD, int(far), CHECK_EVERY if far else 1,
            *addresses, *calls,
        )  # fmt: skip
        if far and not library.encrypt_ahead(ctypes.byref(self.setup), ctypes.c_long(self.ticks)):
            raise MemoryError("no room for the packets")

    def run(self, begin: float) -> dict[str, float]:
        """Send and receive; blocks, without the interpreter's lock.

        Args:
            begin: When, on the monotonic clock.
        """
        outcome = Outcome()
        self.library.run(
            ctypes.byref(self.setup),
            ctypes.c_double(begin),
            ctypes.c_long(self.ticks),
            ctypes.c_long(REST_TICKS),
            ctypes.byref(outcome),
        )
        figures = {name: getattr(outcome, name) for name in FIELDS}
        counts = list(self.held[-1])
        return figures | {"least": min(counts), "most": max(counts)}


def fixed_key(suite: str, number: int, side: str) -> bytes:
    """A key both processes know without an exchange."""
    octets = hashlib.sha256(f"{side}{number}".encode()).digest()
    return octets[: SUITES[suite][1]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("role", choices=["engine", "far"])
    options.add_argument("--calls", type=int, default=1_000)
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--suite", choices=SUITES, default="AES_CM_128_HMAC_SHA1_80")
    options.add_argument("--sockets", type=int, default=1)
    options.add_argument("--target", help="where the engine listens, HOST:PORT")
    given = options.parse_args()
    library = build()
    numbers = range(given.calls)
    sides = ("e", "f") if given.role == "engine" else ("f", "e")
    sockets = open_sockets(given.sockets)
    keys = [
        tuple(
            session(given.suite, fixed_key(given.suite, number, side), outbound=not place)
            for place, side in enumerate(sides)
        )
        for number in numbers
    ]
    bases = (0x10000, 0x20000) if given.role == "engine" else (0x20000, 0x10000)
    ssrc = [(bases[0] + number, bases[1] + number) for number in numbers]
    print(json.dumps({"ports": [bound.getsockname()[1] for bound in sockets]}), flush=True)
    ports = json.loads(sys.stdin.readline())["ports"]
    streams = Streams(
        library,
        sockets=sockets,
        peers=[(LOOPBACK, ports[number * len(ports) // given.calls]) for number in numbers],
        keys=keys,
        ssrc=ssrc,
        seconds=given.seconds,
        parts=4 if given.role == "engine" else 20,
        far=given.role == "far",
    )
    print(json.dumps({"prepared": True}), flush=True)
    print(json.dumps(streams.run(json.loads(sys.stdin.readline())["begin"])), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C")
    sys.exit(main())
