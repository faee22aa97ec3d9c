"""DTLS datagrams that have broken handshakes of others (the class of CVE-2023-49786).

Whoever can reach a media port can send one. None of them may keep the genuine peer away, end its
call, or be answered with an alert to it.

```python
random = Random(7)
for name, make in HOSTILE_DTLS.items():
    media_socket.sendto(make(random), target)
```
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

__all__ = ["HOSTILE_DTLS"]

CHANGE_CIPHER_SPEC: Final = 20
ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
HELLO_REQUEST: Final = 0
CLIENT_HELLO: Final = 1
SERVER_HELLO: Final = 2
CERTIFICATE: Final = 11
FIRST_OF_DTLS: Final = 20
AFTER_DTLS: Final = 64
FATAL_ALERTS: Final = (10, 20, 40, 42, 47, 50, 80)
_VERSION: Final = b"\xfe\xfd"


def _record(
    content: int, body: bytes, *, epoch: int = 0, sequence: int = 0, length: int | None = None
) -> bytes:
    """A record (RFC 6347 section 4.1) whose length may be a lie."""
    numbers = epoch.to_bytes(2, "big") + sequence.to_bytes(6, "big")
    declared = len(body) if length is None else length
    return bytes([content]) + _VERSION + numbers + declared.to_bytes(2, "big") + body


def _message(
    kind: int, body: bytes, *, sequence: int = 0, offset: int = 0, length: int | None = None
) -> bytes:
    """A handshake message or a fragment of it (RFC 6347 section 4.2.2)."""
    total = len(body) if length is None else length
    head = bytes([kind]) + total.to_bytes(3, "big") + sequence.to_bytes(2, "big")
    return head + offset.to_bytes(3, "big") + len(body).to_bytes(3, "big") + body


def _null_hello(random: Random) -> bytes:
    suites, compressions = b"\x00\x02\x00\x00", b"\x01\x00"
    body = _VERSION + random.randbytes(32) + b"\x00\x00" + suites + compressions
    return _record(HANDSHAKE, _message(CLIENT_HELLO, body), sequence=random.randrange(4))


def _server_hello(random: Random) -> bytes:
    body = _VERSION + random.randbytes(32) + b"\x00" + b"\xc0\x2b" + b"\x00"
    return _record(HANDSHAKE, _message(SERVER_HELLO, body))


def _huge_fragment(random: Random) -> bytes:
    return _record(HANDSHAKE, _message(CLIENT_HELLO, random.randbytes(40), length=0xFFFFFF))


def _far_fragment(random: Random) -> bytes:
    body = _message(CERTIFICATE, random.randbytes(9), offset=30_000, length=30_009, sequence=1)
    return _record(HANDSHAKE, body)


def _overlong_fragment(random: Random) -> bytes:
    return _record(HANDSHAKE, _message(CERTIFICATE, random.randbytes(9), offset=90, length=95))


def _fatal_alert(random: Random) -> bytes:
    body = bytes([2, random.choice(FATAL_ALERTS)])
    return _record(ALERT, body, sequence=random.randrange(9))


def _bad_second_record(random: Random) -> bytes:
    return _null_hello(random) + _record(HANDSHAKE, b"", length=random.randrange(1, 0xFFFF))


def _change_cipher_spec(random: Random) -> bytes:
    return _record(CHANGE_CIPHER_SPEC, b"\x01", sequence=random.randrange(9))


def _application_data(random: Random) -> bytes:
    numbers = {"epoch": random.randrange(3), "sequence": random.randrange(9)}
    return _record(APPLICATION_DATA, random.randbytes(64), **numbers)


def _rubbish(random: Random) -> bytes:
    first = random.randrange(FIRST_OF_DTLS, AFTER_DTLS)
    return bytes([first]) + random.randbytes(random.randrange(12, 200))


HOSTILE_DTLS: Final[Mapping[str, Callable[[Random], bytes]]] = MappingProxyType(
    {
        "a ClientHello with the NULL suite": _null_hello,
        "a ServerHello of nobody": _server_hello,
        "a HelloRequest": lambda _: _record(HANDSHAKE, _message(HELLO_REQUEST, b"")),
        "a fragment of a huge message": _huge_fragment,
        "a fragment at a far offset": _far_fragment,
        "a fragment past the end of its message": _overlong_fragment,
        "a fatal alert": _fatal_alert,
        "a close_notify": lambda _: _record(ALERT, b"\x01\x00"),
        "a ClientHello and a bad second record": _bad_second_record,
        "a stray ChangeCipherSpec": _change_cipher_spec,
        "a Finished out of nowhere": lambda random: _record(
            HANDSHAKE, random.randbytes(48), epoch=1
        ),
        "application data": _application_data,
        "octets of the range of DTLS": _rubbish,
    }
)
"""What makes a datagram of each kind, a little different every time."""
