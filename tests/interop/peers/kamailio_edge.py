"""kamailio as an edge proxy: it puts itself into the Path of those who register by way of it."""

from __future__ import annotations

from pathlib import Path
from string import Template

from peers.program import HOST, Program, free_ports, udp_bound

CONFIGURATION = Template("""\
#!KAMAILIO
# Edge proxy on $address; the registrar is $registrar.
debug=2
log_stderror=yes
fork=yes
children=2
disable_tcp=yes
auto_aliases=no
mpath="$modules"
listen=udp:$address

loadmodule "kex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "path.so"

modparam("tm", "fr_timer", 5000)
modparam("tm", "fr_inv_timer", 30000)

request_route {
    if (!mf_process_maxfwd_header("70")) { exit; }
    force_rport();
    if (is_method("CANCEL")) {
        if (t_check_trans()) { t_relay(); }
        exit;
    }
    if (is_method("REGISTER")) {
        add_path();
        $$du = "sip:$registrar";
        t_relay();
        exit;
    }
    # Within a dialog, by the Path from the registrar, or by the Service-Route from a phone. It is
    # no loose route to kamailio when its own is the only one and there is no dialog.
    $$var(routed) = 0;
    if (is_present_hf("Route")) { $$var(routed) = 1; }
    if (!loose_route()) {
        if (is_method("ACK")) {
            if (t_check_trans()) { t_relay(); }
            exit;
        }
        if (!$$var(routed)) {
            sl_send_reply("403", "Go By A Route");
            exit;
        }
    }
    if (is_method("INVITE|SUBSCRIBE|REFER|NOTIFY")) { record_route(); }
    t_relay();
}
""")


class KamailioEdge(Program):
    """A running edge proxy over UDP; whoever does not name it in a Route gets a 403.

    Args:
        folder: Its own folder.
        registrar: `"host:port"` of the registrar behind it.
        port: Its own port.
    """

    name = "kamailio"

    def __init__(self, folder: Path, registrar: str, port: int) -> None:
        super().__init__(folder)
        self.registrar = registrar
        self.port = port

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        modules = next(Path("/usr/lib").glob("*/kamailio/modules/path.so")).parent
        configuration = self.folder / "kamailio.cfg"
        configuration.write_text(
            CONFIGURATION.substitute(
                address=self.address, registrar=self.registrar, modules=f"{modules}/"
            ),
            encoding="utf-8",
        )
        memory = ["-m", "32", "-M", "8"]
        self.spawn(["kamailio", "-DD", "-E", *memory, "-Y", self.folder, "-f", configuration])
        self.wait_until(lambda: udp_bound(self.port))


def edge_port() -> int:
    """A port for an edge, known before its registrar starts."""
    return free_ports()
