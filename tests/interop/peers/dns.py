"""Authoritative name servers with one zone of every case of RFC 3263: knot and BIND."""

from __future__ import annotations

import contextlib
import socket
from string import Template
from typing import TYPE_CHECKING

from peers.program import HOST, Program, free_ports

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = "example.test"

ZONE = """\
$ORIGIN example.test.
$TTL 60
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 127.0.0.1

dual IN A 127.0.0.1
dual IN AAAA ::1
four IN A 127.0.0.1

; the example of the documentation
sip IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.sip
sip IN NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp.sip
sip IN NAPTR 30 10 "s" "SIP+D2U" "" _sip._udp.sip
_sips._tcp.sip IN SRV 10 100 5061 dual
_sip._tcp.sip IN SRV 10 100 5060 dual
_sip._udp.sip IN SRV 10 100 5060 dual

; order and preference
udpfirst IN NAPTR 10 90 "s" "SIP+D2U" "" _sip._udp.sip
udpfirst IN NAPTR 20 10 "s" "SIPS+D2T" "" _sips._tcp.sip
pref IN NAPTR 10 20 "s" "SIP+D2U" "" _sip._udp.sip
pref IN NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.sip

; what is passed over: ENUM, SCTP; then one in lower case
odd IN NAPTR 5 10 "u" "E2U+sip" "!^.*$!sip:x@example.test!" .
odd IN NAPTR 6 10 "s" "SIP+D2S" "" _sip._sctp.sip
odd IN NAPTR 10 10 "S" "sip+d2u" "" _sip._udp.sip

ws IN NAPTR 10 10 "s" "SIPS+D2W" "" _sips._ws.ws
_sips._ws.ws IN SRV 10 100 8443 four

; no NAPTR; no SRV either
srvonly IN A 127.0.0.99
_sip._udp.srvonly IN SRV 10 100 5070 four
_sips._tcp.tlsonly IN SRV 10 100 5071 four
aonly IN A 127.0.0.1
multi IN A 127.0.0.9
multi IN A 127.0.0.1

; several targets of one service
fail IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.fail
_sip._udp.fail IN SRV 30 100 5093 four
_sip._udp.fail IN SRV 10 100 5091 four
_sip._udp.fail IN SRV 20 100 5092 four
_sip._udp.weights IN SRV 10 90 5090 four
_sip._udp.weights IN SRV 10 10 5010 four
_sip._udp.weights IN SRV 20 0 5000 four

; nothing there
_sip._udp.none IN SRV 0 0 0 .
dangling IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.nowhere
badtarget IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.badtarget
_sip._udp.badtarget IN SRV 10 10 5060 nohost

alias IN CNAME sip
circle IN CNAME round
round IN CNAME circle
big IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.big
""" + "".join(f"_sip._udp.big IN SRV {number} 10 5{number:03} four\n" for number in range(1, 61))

KNOT = Template("""\
server:
    rundir: "$folder"
    pidfile: "$folder/knot.pid"
    listen: [ $host@$port ]
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: "$folder/db"
template:
  - id: default
    storage: "$folder"
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
zone:
  - domain: $domain
    file: "$folder/zone"
""")

NAMED = Template("""\
options {
    directory "$folder";
    pid-file "$folder/named.pid";
    session-keyfile "$folder/session.key";
    lock-file none;
    listen-on port $port { $host; };
    listen-on-v6 { none; };
    recursion no;
    allow-transfer { none; };
    dnssec-validation no;
};
controls { };
zone "$domain" { type primary; file "$folder/zone"; };
""")

# A question for the SOA record of the domain, as it goes over the wire.
_QUESTION = (
    bytes.fromhex("0001 0000 0001 0000 0000 0000")
    + b"".join(bytes([len(label)]) + label.encode() for label in DOMAIN.split("."))
    + bytes.fromhex("00 0006 0001")
)


class _NameServer(Program):
    """A name server on a port of loopback, UDP and TCP; `records` are more lines of its zone."""

    configuration: Template

    def __init__(self, folder: Path, *, records: str = "") -> None:
        super().__init__(folder)
        self.records = records
        self.port = free_ports()

    @property
    def address(self) -> str:
        """`"host:port"`, as `--nameserver` takes it."""
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        (self.folder / "zone").write_text(ZONE + self.records, encoding="ascii")
        text = self.configuration.substitute(
            folder=self.folder, host=HOST, port=self.port, domain=DOMAIN
        )
        (self.folder / "configuration").write_text(text, encoding="utf-8")
        self.spawn(self.command())
        self.wait_until(self._serves)

    def command(self) -> list[str | Path]:
        """The program and its arguments."""
        raise TypeError(f"{type(self).__name__} says how it is started")

    def _serves(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as asking:
            asking.settimeout(0.2)
            asking.connect((HOST, self.port))
            asking.send(_QUESTION)
            answer = asking.recv(512)
            # No error code, and an answer record.
            return answer[3] & 15 == 0 and answer[7] > 0
        return False


class Knot(_NameServer):
    """knot: records in the order of the zone file."""

    name = "knot"
    configuration = KNOT

    def command(self) -> list[str | Path]:
        return ["knotd", "-c", self.folder / "configuration"]


class Bind(_NameServer):
    """BIND: records in an order that changes from answer to answer."""

    name = "bind"
    configuration = NAMED

    def command(self) -> list[str | Path]:
        return ["named", "-g", "-n", "1", "-c", self.folder / "configuration"]
