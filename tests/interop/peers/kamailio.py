"""kamailio: a registrar with digest authentication and a record-routing proxy."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from string import Template

from peers.program import HOST, Program, free_ports, tcp_listening, udp_bound

DOMAIN = "example.test"
PASSWORD = "secret"
USERS = ("alice", "bob", "carol", *(f"u{number}" for number in range(1, 10)))

CONFIGURATION = Template("""\
#!KAMAILIO
# Registrar and record-routing proxy on $host:$port, UDP and TCP.
debug=2
log_stderror=yes
fork=yes
children=2
tcp_children=2
auto_aliases=no
mpath="$modules"
listen=udp:$host:$port
listen=tcp:$host:$port
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

modparam("jsonrpcs", "transport", 4)
modparam("jsonrpcs", "dgram_socket", "$folder/rpc")
modparam("auth", "algorithm", "$digest")
modparam("auth", "qop", "auth")
modparam("auth", "nonce_count", 1)
modparam("auth", "nonce_expire", $nonce_expire)
modparam("registrar", "min_expires", 5)
modparam("registrar", "max_expires", 3600)
modparam("usrloc", "db_mode", 0)
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
    if (!t_relay()) { sl_reply_error(); }
    exit;
}

route[IN_DIALOG] {
    if (loose_route()) {
        if (is_method("INVITE|SUBSCRIBE|NOTIFY|REFER")) { record_route(); }
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
""")


class Kamailio(Program):
    """A running kamailio; users of `USERS` with `PASSWORD` in the realm `DOMAIN`.

    `fail-486@example.test` answers 486 (or any other final status from 300 on);
    `black-hole@example.test` never answers. An INVITE from a user of the domain is
    challenged with 407.
    """

    name = "kamailio"

    def __init__(self, folder: Path, *, digest: str = "MD5", nonce_expire: int = 300) -> None:
        super().__init__(folder)
        self.digest = digest
        self.nonce_expire = nonce_expire
        self.port = free_ports()

    @property
    def address(self) -> str:
        """Where it listens, UDP and TCP."""
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        modules = next(Path("/usr/lib").glob("*/kamailio/modules/tm.so")).parent
        lines = (f'    $sht(passwords=>{user}) = "{PASSWORD}";' for user in USERS)
        configuration = self.folder / "kamailio.cfg"
        configuration.write_text(
            CONFIGURATION.substitute(
                host=HOST,
                port=self.port,
                modules=f"{modules}/",
                domain=DOMAIN,
                folder=self.folder,
                digest=self.digest,
                nonce_expire=self.nonce_expire,
                passwords="\n".join(lines),
            ),
            encoding="utf-8",
        )
        memory = ["-m", "32", "-M", "8"]
        self.spawn(["kamailio", "-DD", "-E", *memory, "-Y", self.folder, "-f", configuration])
        rpc = self.folder / "rpc"
        self.wait_until(lambda: udp_bound(self.port) and rpc.exists() and tcp_listening(self.port))

    def call(self, method: str, *parameters: str) -> object:
        """One JSON-RPC request to the running server; its result, None for an error answer."""
        question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
        answer_at = self.folder / "answer"
        answer_at.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
            control.bind(str(answer_at))
            answer_at.chmod(0o777)
            control.settimeout(5)
            control.sendto(json.dumps(question).encode(), str(self.folder / "rpc"))
            answer = json.loads(control.recv(65_536))
        return answer.get("result")

    def contacts(self, user: str) -> list[str]:
        """Contacts bound to this user, as the registrar holds them."""
        result = self.call("ul.lookup", "location", user)
        if not isinstance(result, dict):
            return []
        return [entry["Contact"]["Address"] for entry in result["Contacts"]]

    async def bound(self, *users: str, seconds: float = 10) -> None:
        """Wait until each of these users has a contact."""
        async with asyncio.timeout(seconds):
            for user in users:
                while not self.contacts(user):  # noqa: ASYNC110  another process
                    await asyncio.sleep(0.05)
