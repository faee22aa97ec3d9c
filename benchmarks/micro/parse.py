"""Parse of a 1 KB INVITE: callmeter against sippy and pyVoIP, interleaved, CPU time.

    pip install sippy==2.5.0 pyVoIP==1.6.8
    python benchmarks/micro/parse.py

The message has 15 header lines, two of them Via, and 13 lines of SDP. Two figures for each:

- `parse`: octets to a message object. callmeter checks the whole head against the grammar and all
  of its limits in it; sippy parses a part of the headers when they are asked for.
- `with fields`: the same, and what a UAS needs of it is read: method, Request-URI, branch, From
  tag, To tag, Call-ID, CSeq number, Contact and body.

A library that is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING

from callmeter.sip import parse_message

if TYPE_CHECKING:
    from collections.abc import Callable

BODY = (
    b"v=0\r\no=alice 2890844526 2890844526 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\n"
    b"t=0 0\r\nm=audio 49172 RTP/SAVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\n"
    b"a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"
    b"a=ptime:20\r\na=sendrecv\r\n"
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n"
)
INVITE = (
    b"INVITE sip:bob@biloxi.example.com;transport=udp SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK74bf9a1c;rport\r\n"
    b"Via: SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bK87asdks7;received=192.0.2.1\r\n"
    b"Max-Forwards: 69\r\nRecord-Route: <sip:p1.example.com;lr>\r\n"
    b'From: "Alice" <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n'
    b"To: Bob <sip:bob@biloxi.example.com>\r\n"
    b"Call-ID: 3848276298220188511@atlanta.example.com\r\nCSeq: 1 INVITE\r\n"
    b"Contact: <sip:alice@127.0.0.1:5070;transport=udp>\r\n"
    b"Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, UPDATE, PRACK\r\n"
    b"Supported: replaces, timer, 100rel\r\nUser-Agent: callmeter/0.1\r\n"
    b"Session-Expires: 1800;refresher=uac\r\nContent-Type: application/sdp\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
WANTED = (
    "INVITE", "sip:bob@biloxi.example.com;transport=udp", "z9hG4bK74bf9a1c", "9fxced76sl", None,
    "3848276298220188511@atlanta.example.com", 1, "sip:alice@127.0.0.1:5070;transport=udp",
    len(BODY),
)  # fmt: skip
TEXT = INVITE.decode()


def ours() -> object:
    return parse_message(INVITE)


def our_fields() -> tuple:
    message = parse_message(INVITE)
    return (
        message.method, message.uri_text, message.branch, message.from_tag, message.to_tag,
        message.call_id, message.cseq_number, message.contact_uri, len(message.body),
    )  # fmt: skip


def with_sippy() -> tuple[Callable[[], object], Callable[[], tuple]]:
    SipRequest = import_module("sippy.SipRequest").SipRequest  # noqa: N806  a class

    def fields() -> tuple:
        message = SipRequest(TEXT)
        sender, to = message.getHFBody("from"), message.getHFBody("to")
        contact = message.getHFBody("contact")
        return (
            message.getMethod(), str(message.getRURI()), message.getHFBody("via").getBranch(),
            sender.getTag(), to.getTag(), str(message.getHFBody("call-id")),
            message.getHFBody("cseq").getCSeqNum(), str(contact.getUrl()),
            len(str(message.getBody())),
        )  # fmt: skip

    return lambda: SipRequest(TEXT), fields


def with_pyvoip() -> tuple[Callable[[], object], Callable[[], tuple]]:
    import_module("pyVoIP.VoIP")  # first: its modules import each other
    SIPMessage = import_module("pyVoIP.SIP").SIPMessage  # noqa: N806  a class

    def fields() -> tuple:
        message = SIPMessage(INVITE)
        headers = message.headers
        return (
            message.method, message.heading.split(b" ")[1].decode(),
            headers["Via"][0]["branch"], headers["From"]["tag"], headers["To"]["tag"] or None,
            headers["Call-ID"], int(headers["CSeq"]["check"]),
            headers["Contact"].strip("<>"), len(message.body),
        )  # fmt: skip

    return lambda: SIPMessage(INVITE), fields


def microseconds(work: Callable[[], object], count: int) -> float:
    """CPU time of one call."""
    before = time.process_time_ns()
    for _ in range(count):
        work()
    return (time.process_time_ns() - before) / 1_000 / count


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--repeats", type=int, default=15)
    options.add_argument("--count", type=int, default=2_000, help="parses by repeat; others a 4th")
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    rows: dict[str, tuple[Callable[[], object], Callable[[], tuple]]] = {
        "callmeter": (ours, our_fields)
    }
    for name, load in (("sippy", with_sippy), ("pyVoIP", with_pyvoip)):
        try:
            rows[name] = load()
        except ImportError:
            sys.stderr.write(f"{name} is not installed\n")
    if our_fields() != WANTED:
        sys.exit(f"callmeter read {our_fields()}")
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(given.repeats):
        for name, works in rows.items():
            count = given.count if name == "callmeter" else given.count // 4
            for what, work in zip(("parse", "with fields"), works, strict=True):
                found.setdefault((name, what), []).append(microseconds(work, count))
    medians = {row: statistics.median(runs) for row, runs in found.items()}
    if given.json:
        figures = {" ".join(row): median for row, median in medians.items()}
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
        return
    sys.stdout.write(f"{len(INVITE)} octets     parse us   ratio   with fields us   ratio\n")
    for name in rows:
        parse, whole = medians[name, "parse"], medians[name, "with fields"]
        sys.stdout.write(
            f"{name:<14} {parse:9.1f}  {parse / medians['callmeter', 'parse']:6.1f}"
            f"   {whole:14.1f}  {whole / medians['callmeter', 'with fields']:6.1f}\n"
        )


if __name__ == "__main__":
    main()
