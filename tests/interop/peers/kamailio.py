"""kamailio: a registrar with digest authentication and a record-routing proxy."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from peers.program import HOST, Program, free_ports, tcp_listening, udp_bound

if TYPE_CHECKING:
    from peers.certificates import Certificates

DOMAIN = "example.test"
PASSWORD = "secret"
USERS = ("alice", "bob", "carol", *(f"u{number}" for number in range(1, 10)))

CONFIGURATION = Template("""\
#!KAMAILIO
# Registrar and record-routing proxy on $host:$port, and TLS and WSS where asked for.
debug=2
log_stderror=yes
fork=yes
children=2
tcp_children=2
auto_aliases=no
mpath="$modules"
$listeners
alias="$domain"

loadmodule "jsonrpcs.so"
loadmodule "kex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "sanity.so"
loadmodule "auth.so"
loadmodule "htable.so"
loadmodule "nathelper.so"
$tls_module
$media_module

modparam("jsonrpcs", "transport", 4)
modparam("jsonrpcs", "dgram_socket", "$folder/rpc")
modparam("auth", "algorithm", "$digest")
modparam("auth", "qop", "auth")
modparam("auth", "nonce_count", 1)
modparam("auth", "nonce_expire", $nonce_expire)
modparam("registrar", "min_expires", 5)
modparam("registrar", "max_expires", 3600)
modparam("registrar", "use_path", 1)
modparam("usrloc", "db_mode", 0)
modparam("nathelper|registrar", "received_avp", "$$avp(received)")
modparam("tm", "fr_timer", 5000)
modparam("tm", "fr_inv_timer", 30000)
modparam("rr", "append_fromtag", 1)
modparam("htable", "htable", "passwords=>size=5")

event_route[htable:mod-init] {
$passwords
}

request_route {
    if (!mf_process_maxfwd_header("70")) {
        sl_send_reply("483", "Too Many Hops");
        exit;
    }
    if (!sanity_check()) { exit; }
    force_rport();
    if ($$proto =~ "^wss?$$") { route(WEB_SOCKET); }

    if (is_method("CANCEL")) {
        if (t_check_trans()) { t_relay(); }
        exit;
    }
    if (has_totag()) { route(IN_DIALOG); }
    t_check_trans();

    if (is_method("OPTIONS") && $$rU == $$null) {
        sl_send_reply("200", "OK");
        exit;
    }
    if (is_method("REGISTER")) { route(REGISTRATION); }

    remove_hf("Route");
    if (from_uri == myself) { route(CALLER); }
    if ($$rU =~ "^fail-[3-6][0-9][0-9]$$") {
        $$var(status) = $$(rU{s.substr,5,3}{s.int});
        sl_send_reply("$$var(status)", "As Asked");
        exit;
    }
    if ($$rU == "black-hole") { exit; }
    if (is_method("INVITE|SUBSCRIBE|REFER")) { record_route(); }
    if (!lookup("location")) {
        sl_send_reply("404", "Not Found");
        exit;
    }
    route(MEDIA);
    t_on_reply("ANSWER");
    if (!t_relay()) { sl_reply_error(); }
    exit;
}

# A WebSocket phone has no address to call (RFC 7118 section 5): its Contact is replaced by
# the connection it came from.
route[WEB_SOCKET] {
    if (is_method("REGISTER")) {
        fix_nated_register();
    } else if (is_method("INVITE|SUBSCRIBE|UPDATE|REFER")) {
        add_contact_alias();
    }
}

onreply_route[ANSWER] {
    if ($$proto =~ "^wss?$$") { add_contact_alias(); }
    route(MEDIA_ANSWER);
}

route[IN_DIALOG] {
    if (loose_route()) {
        if (!isdsturiset()) { handle_ruri_alias(); }
        # RFC 5627 section 5.1: in dialogs, too, a GRUU is translated to its contact.
        if (uri == myself && is_gruu()) { lookup("location"); }
        t_on_reply("ANSWER");
        if (is_method("INVITE|SUBSCRIBE|NOTIFY|REFER")) { record_route(); }
        route(MEDIA);
        t_relay();
        exit;
    }
    if (is_method("ACK")) {
        if (t_check_trans()) { t_relay(); }
        exit;
    }
    sl_send_reply("481", "No Such Dialog Here");
    exit;
}

route[REGISTRATION] {
    if (!pv_www_authenticate("$domain", "$$sht(passwords=>$$au)", "0")) {
        www_challenge("$domain", "1");
        exit;
    }
    if ($$au != $$tU) {
        sl_send_reply("403", "Not Your Address");
        exit;
    }
    $service_route
    if (!save("location")) { sl_reply_error(); }
    exit;
}

route[CALLER] {
    if (!is_method("INVITE|MESSAGE|SUBSCRIBE|REFER|PUBLISH")) { return; }
    if (!pv_proxy_authenticate("$domain", "$$sht(passwords=>$$au)", "0")) {
        proxy_challenge("$domain", "1");
        exit;
    }
    if ($$au != $$fU) {
        sl_send_reply("403", "Not Your Address");
        exit;
    }
    consume_credentials();
}
$web_socket
$media_routes
""")

# Listener: its certificate, and what it asks of the client.
TLS_LISTENERS = {
    "good": ("good", "TLSv1.2+", "no"),
    "mutual": ("good", "TLSv1.2+", "yes"),
    "tls12": ("good", "TLSv1.2", "no"),
    "expired": ("expired", "TLSv1.2+", "no"),
    "wrong-name": ("wrong-name", "TLSv1.2+", "no"),
    "untrusted": ("untrusted", "TLSv1.2+", "no"),
}
TRANSPORTS = ("udp", "tcp", "tls", "wss", "ws")
TLS_SECTION = Template("""\
[$name]
method = $method
verify_certificate = $asks
require_certificate = $asks
certificate = $folder/$certificate.pem
private_key = $folder/$certificate.key
ca_list = $folder/ca.pem

""")
TLS_MODULE = Template("""\
enable_tls=yes
# The HTTP request for a WebSocket has no Content-Length.
tcp_accept_no_cl=yes
loadmodule "tls.so"
modparam("tls", "config", "$folder/tls.cfg")
loadmodule "xhttp.so"
loadmodule "websocket.so"
""")
WEB_SOCKET = """
event_route[xhttp:request] {
    if ($hdr(Upgrade) =~ "websocket" && $rm =~ "GET") {
        if (ws_handle_handshake()) { exit; }
    }
    xhttp_reply("404", "Not Found", "", "");
}
"""

# Media goes through rtpengine where the INVITE asks for it: `X-Media: dtls` has the callee offered
# DTLS-SRTP, whatever the caller has. Later offers of the dialog keep to what was agreed. What goes
# to a WebSocket is always for a browser.
MEDIA_MODULE = Template("""\
loadmodule "rtpengine.so"
modparam("rtpengine", "rtpengine_sock", "udp:$address")
""")
NO_MEDIA = """
route[MEDIA] { return; }
route[MEDIA_ANSWER] { return; }
"""
MEDIA_OFFERS = {
    "plain": "ICE=remove RTP/AVP rtcp-mux-demux",
    "sdes": "ICE=remove RTP/SAVP rtcp-mux-demux DTLS=off SDES-pad",
    "sdes-unpadded": "ICE=remove RTP/SAVP rtcp-mux-demux DTLS=off",
    "dtls": "ICE=remove UDP/TLS/RTP/SAVP rtcp-mux-offer SDES-off",
    "dual": "ICE=remove RTP/SAVP rtcp-mux-offer",
    "webrtc": "ICE=force UDP/TLS/RTP/SAVPF rtcp-mux-require SDES-off",
}
MEDIA_FLAGS = "replace-origin replace-session-connection"
MEDIA_ROUTES = Template("""
route[MEDIA] {
    if (is_method("INVITE") && !has_totag() && is_present_hf("X-Media")) {
        add_rr_param(";media=on");
        setflag(1);
    } else if (has_totag() && check_route_param("media=on")) {
        setflag(1);
    }
    if (!isflagset(1)) { return; }
    if (is_method("BYE")) { rtpengine_delete(); }
    if (!has_body("application/sdp")) { return; }
    $$var(media) = "$flags ICE=remove";
$offers
    # A browser takes nothing else, whoever offers, and when.
    if ($$du =~ "transport=ws") { $$var(media) = "$flags $webrtc"; }
    rtpengine_manage("$$var(media)");
}

route[MEDIA_ANSWER] {
    if (isflagset(1) && has_body("application/sdp")) { rtpengine_manage("$flags"); }
}
""")


class Kamailio(Program):
    """A running kamailio; users of `USERS` with `PASSWORD` in the realm `DOMAIN`.

    `fail-486@example.test` answers 486 (or any other final status from 300 on);
    `black-hole@example.test` never answers. An INVITE from a user of the domain is
    challenged with 407.

    With certificates it listens for TLS too, on one port for each of `TLS_LISTENERS`: `good`,
    `mutual` (wants a client certificate), `tls12` (no TLS 1.3), and the ones that must fail:
    `expired`, `wrong-name`, `untrusted`; and for WSS and WS.

    With the address of an rtpengine it has it change the media of calls whose INVITE has a header
    `X-Media`, one of `MEDIA_OFFERS`: what the callee is offered.

    With the address of an edge proxy it says so in a Service-Route.

    Attributes:
        transports: Those of `TRANSPORTS` it listens on from its next start.
    """

    name = "kamailio"

    def __init__(
        self,
        folder: Path,
        *,
        digest: str = "MD5",
        nonce_expire: int = 300,
        certificates: Certificates | None = None,
        host: str = HOST,
        transports: tuple[str, ...] = TRANSPORTS,
        rtpengine: str | None = None,
        edge: str | None = None,
    ) -> None:
        super().__init__(folder)
        self.rtpengine = rtpengine
        self.edge = edge
        self.host = f"[{host}]" if ":" in host else host
        self.transports = transports
        self.digest = digest
        self.nonce_expire = nonce_expire
        self.certificates = certificates
        self.port = free_ports(3 + len(TLS_LISTENERS))

    @property
    def address(self) -> str:
        """Where it listens, UDP and TCP."""
        return f"{self.host}:{self.port}"

    def reached_by(self, transport: str) -> str:
        """Where it listens for this transport."""
        if transport == "ws":
            return f"{self.host}:{self.port + 2 + len(TLS_LISTENERS)}"
        if transport == "wss":
            return f"{self.host}:{self.port + 1 + len(TLS_LISTENERS)}"
        return self.tls_address() if transport == "tls" else self.address

    def tls_address(self, listener: str = "good") -> str:
        """Where it listens for TLS with this certificate."""
        return f"{self.host}:{self._tls_port(listener)}"

    def _tls_port(self, listener: str) -> int:
        return self.port + 1 + list(TLS_LISTENERS).index(listener)

    def _listeners(self) -> list[str]:
        found = [f"{name}:{self.address}" for name in ("udp", "tcp") if name in self.transports]
        if self.certificates is not None:
            if "tls" in self.transports:
                found += [f"tls:{self.tls_address(name)}" for name in TLS_LISTENERS]
            if "wss" in self.transports:
                found.append(f"tls:{self.reached_by('wss')}")
            if "ws" in self.transports:
                found.append(f"tcp:{self.reached_by('ws')}")
        return found

    def _write_tls(self, certificates: Certificates) -> None:
        """Write the certificates and the TLS configuration."""
        certificates.write(self.folder)
        sections = {"client:default": ("good", "TLSv1.2+", "yes")}
        sections |= {
            f"server:{self.tls_address(name)}": settings
            for name, settings in TLS_LISTENERS.items()
            if "tls" in self.transports
        }
        # The defaults have to come first.
        sections = {"server:default": TLS_LISTENERS["good"], **sections}
        text = "".join(
            TLS_SECTION.substitute(
                name=name, certificate=certificate, method=method, asks=asks, folder=self.folder
            )
            for name, (certificate, method, asks) in sections.items()
        )
        (self.folder / "tls.cfg").write_text(text, encoding="utf-8")

    def _service_route(self) -> str:
        """What tells a phone to send its requests by way of the edge (RFC 3608)."""
        if self.edge is None:
            return ""
        route = f"<sip:{self.edge};lr>, <sip:{self.address};lr>"
        return f'append_to_reply("Service-Route: {route}\\r\\n");'

    def _media(self) -> dict[str, str]:
        """The parts of the configuration that send media through rtpengine."""
        if self.rtpengine is None:
            return {"media_module": "", "media_routes": NO_MEDIA}
        offers = "\n".join(
            f'    if ($hdr(X-Media) == "{name}") {{ $var(media) = "{MEDIA_FLAGS} {flags}"; }}'
            for name, flags in MEDIA_OFFERS.items()
        )
        return {
            "media_module": MEDIA_MODULE.substitute(address=self.rtpengine),
            "media_routes": MEDIA_ROUTES.substitute(
                flags=MEDIA_FLAGS, offers=offers, webrtc=MEDIA_OFFERS["webrtc"]
            ),
        }

    def start(self) -> None:
        modules = next(Path("/usr/lib").glob("*/kamailio/modules/tm.so")).parent
        lines = (f'    $sht(passwords=>{user}) = "{PASSWORD}";' for user in USERS)
        listeners = self._listeners()
        secure = any(one.startswith("tls:") for one in listeners)
        if self.certificates is not None:
            self._write_tls(self.certificates)
        configuration = self.folder / "kamailio.cfg"
        configuration.write_text(
            CONFIGURATION.substitute(
                host=self.host,
                port=self.port,
                modules=f"{modules}/",
                domain=DOMAIN,
                folder=self.folder,
                listeners="\n".join(f"listen={one}" for one in listeners),
                tls_module=TLS_MODULE.substitute(folder=self.folder) if secure else "",
                web_socket=WEB_SOCKET if secure else "",
                digest=self.digest,
                nonce_expire=self.nonce_expire,
                passwords="\n".join(lines),
                service_route=self._service_route(),
                **self._media(),
            ),
            encoding="utf-8",
        )
        memory = ["-m", "32", "-M", "8"]
        rpc = self.folder / "rpc"
        rpc.unlink(missing_ok=True)
        self.spawn(["kamailio", "-DD", "-E", *memory, "-Y", self.folder, "-f", configuration])
        self.wait_until(lambda: rpc.exists() and all(map(_listens, listeners)))

    def call(self, method: str, *parameters: object) -> object:
        """One JSON-RPC request to the running server; its result, None for an error answer."""
        question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
        answer_at = self.folder / "answer"
        answer_at.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
            control.bind(str(answer_at))
            answer_at.chmod(0o777)
            control.settimeout(20)
            control.sendto(json.dumps(question).encode(), str(self.folder / "rpc"))
            answer = json.loads(control.recv(65_536))
        return answer.get("result")

    def contacts(self, user: str) -> list[str]:
        """Contacts bound to this user, as the registrar holds them."""
        result = self.call("ul.lookup", "location", user)
        if not isinstance(result, dict):
            return []
        return [entry["Contact"]["Address"] for entry in result["Contacts"]]

    async def bind(self, user: str, contact: str) -> None:
        """Bind a contact as if this user had registered it."""
        self.call("ul.add", "location", user, contact, 600, 1.0, "", 0, 0, 0)
        await self.bound(user)

    async def bound(self, *users: str, seconds: float = 20) -> None:
        """Wait until each of these users has a contact."""
        async with asyncio.timeout(seconds):
            for user in users:
                while not self.contacts(user):  # noqa: ASYNC110  another process
                    await asyncio.sleep(0.05)


def _listens(listener: str) -> bool:
    transport, _, address = listener.partition(":")
    host, _, port = address.rpartition(":")
    return (
        udp_bound(int(port)) if transport == "udp" else tcp_listening(int(port), host.strip("[]"))
    )
