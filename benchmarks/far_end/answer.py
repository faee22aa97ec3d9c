"""A far end that nobody here has to believe: answers calls by hand-written SIP, media in C.

Takes `--calls` calls by UDP, with SDES or plain, answers each with a port of its own or one of
`--sockets`. Told for how many seconds on standard input, it encrypts what it will send; told when
to begin, it sends and receives in all of them at once.

    python benchmarks/far_end/answer.py --calls 1000 --sockets 50

Says in JSON lines: the SIP port, when all calls are there, and what the streams counted.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import selectors
import socket
import sys
import threading

from native import LOOPBACK, SUITES, Streams, build, open_sockets, session

HEADERS = (b"via", b"from", b"to", b"call-id", b"cseq", b"record-route")
CRYPTO = re.compile(rb"a=crypto:(\d+) (\S+) inline:([^|\s]+)")


class FarEnd:
    """The calls, and what is known of each."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sip.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.sip.bind((LOOPBACK, 0))
        self.sockets = open_sockets(given.sockets or given.calls)
        self.answers: dict[bytes, bytes] = {}
        self.order: list[bytes] = []
        self.peers: list[tuple[str, int]] = []
        self.keys: list[tuple] = []
        self.ssrc: list[tuple[int, int]] = []
        self.acknowledged: set[bytes] = set()
        self.library = build()

    def on_message(self, data: bytes, source: tuple[str, int]) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        method = lines[0].partition(b" ")[0]
        fields = [line for line in lines[1:] if line.partition(b":")[0].strip().lower() in HEADERS]
        call = next(line for line in fields if line.lower().startswith(b"call-id"))
        if method == b"INVITE":
            if call not in self.answers:
                self.answers[call] = self.answer(fields, body)
            self.sip.sendto(self.answers[call], source)
        elif method == b"ACK":
            if call in self.answers and call not in self.acknowledged:
                self.acknowledged.add(call)
                if len(self.acknowledged) == self.given.calls:
                    say(ready=self.given.calls)
        elif not method.startswith(b"SIP/"):
            self.sip.sendto(reply(fields, b"", self.contact), source)

    @property
    def contact(self) -> bytes:
        return b"<sip:far@127.0.0.1:%d>" % self.sip.getsockname()[1]

    def answer(self, fields: list[bytes], offer: bytes) -> bytes:
        number = len(self.peers)
        host = re.search(rb"c=IN IP4 (\S+)", offer)[1].decode()
        port, profile = re.search(rb"m=audio (\d+) (\S+)", offer).groups()
        announced = re.search(rb"a=ssrc:(\d+)", offer)
        place = number * len(self.sockets) // self.given.calls
        here = self.sockets[place].getsockname()[1]
        mux = b"a=rtcp-mux\r\n" if b"a=rtcp-mux" in offer else b"a=rtcp:%d\r\n" % here
        own = 0x51000000 + number
        crypto = b""
        keys = (None, None)
        suite = self.given.suite
        if suite != "none":
            tag, theirs = next(
                (tag, key) for tag, name, key in CRYPTO.findall(offer) if name.decode() == suite
            )
            mine = os.urandom(SUITES[suite][1])
            keys = (
                session(suite, mine, outbound=True),
                session(suite, base64.b64decode(theirs + b"=="), outbound=False),
            )
            crypto = b"a=crypto:%s %s inline:%s\r\n" % (
                tag, suite.encode(), base64.b64encode(mine)
            )  # fmt: skip
        self.peers.append((host, int(port)))
        self.keys.append(keys)
        self.ssrc.append((own, int(announced[1]) if announced else 0))
        body = (
            b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            b"m=audio %d %s 0\r\na=rtpmap:0 PCMU/8000\r\n%sa=ssrc:%d cname:far\r\n%s"
        ) % (here, profile, mux, own, crypto)
        return reply(fields, body, self.contact)

    def run(self, order: dict) -> None:
        if "begin" in order:
            say(**self.streams.run(order["begin"]))
            return
        self.streams = Streams(
            self.library,
            sockets=self.sockets,
            peers=self.peers,
            keys=self.keys,
            ssrc=self.ssrc,
            seconds=order["seconds"],
            parts=20,
            far=True,
        )
        say(prepared=True)


def reply(fields: list[bytes], body: bytes, contact: bytes) -> bytes:
    tagged = [
        line + b";tag=far" if line.lower().startswith(b"to") and b"tag=" not in line else line
        for line in fields
    ]
    return b"\r\n".join(
        [
            b"SIP/2.0 200 OK",
            *tagged,
            b"Contact: " + contact,
            b"Content-Type: application/sdp",
            b"Content-Length: %d" % len(body),
            b"",
            body,
        ]
    )


def say(**figures) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--calls", type=int, default=1_000)
    options.add_argument("--sockets", type=int, default=0, help="0: one a call")
    options.add_argument("--suite", choices=[*SUITES, "none"], default="AES_CM_128_HMAC_SHA1_80")
    far = FarEnd(options.parse_args())
    say(port=far.sip.getsockname()[1])
    with selectors.DefaultSelector() as waiting:
        waiting.register(far.sip, selectors.EVENT_READ)
        waiting.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is far.sip:
                    far.on_message(*far.sip.recvfrom(65_535))
                    continue
                line = sys.stdin.readline()
                if not line:
                    return
                threading.Thread(target=far.run, args=(json.loads(line),), daemon=True).start()


if __name__ == "__main__":
    main()
