"""janus: a WebRTC gateway whose SIP plugin calls and is called with SDES-SRTP."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from peers.agent import Agent
from peers.program import HOST, Program, free_ports, tcp_listening

if TYPE_CHECKING:
    from collections.abc import Iterator

GATEWAY = Template("""\
general: {
    configs_folder = "$folder/configs"
    plugins_folder = "$folder/plugins"
    transports_folder = "$folder/transports"
    loggers_folder = "$folder/loggers"
    events_folder = "$folder/events"
    debug_level = 5
    interface = "$host"
}
media: { rtp_port_range = "$browser_ports" }
""")
SIP_PLUGIN = Template("""\
general: {
    local_ip = "$host"
    sdp_ip = "$host"
    rtp_port_range = "$media_ports"
    keepalive_interval = 120
    behind_nat = false
    register_ttl = 60
}
""")
WEBSOCKETS = Template("""\
general: { json = "plain" ws = true ws_port = $port ws_ip = "$host" wss = false }
admin: { admin_ws = false admin_wss = false }
""")
MEDIA_PORTS = 20


class Janus(Program):
    """A running janus with the SIP plugin; `JanusPhone` speaks through it."""

    name = "janus"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_ports()
        self.media_port = free_ports(MEDIA_PORTS)
        self.browser_port = free_ports(MEDIA_PORTS)

    @property
    def url(self) -> str:
        """Where it is controlled, by WebSocket."""
        return f"ws://{HOST}:{self.port}"

    def start(self) -> None:
        # Folders with no more than is needed: it loads whatever it finds.
        for name in ("configs", "plugins", "transports", "loggers", "events"):
            (self.folder / name).mkdir(exist_ok=True)
        library = next(Path("/usr/lib").glob("**/janus/plugins/libjanus_sip.so")).parent.parent
        for name in ("plugins/libjanus_sip.so", "transports/libjanus_websockets.so"):
            (self.folder / name).symlink_to((library / name).resolve())
        configs = self.folder / "configs"
        for name, text in self._configurations():
            (configs / name).write_text(text, encoding="utf-8")
        self.spawn(["janus", "-C", configs / "janus.jcfg", "-F", configs])
        self.wait_until(lambda: tcp_listening(self.port))

    def _configurations(self) -> Iterator[tuple[str, str]]:
        values = {
            "folder": self.folder,
            "host": HOST,
            "port": self.port,
            "media_ports": _range(self.media_port),
            "browser_ports": _range(self.browser_port),
        }
        yield "janus.jcfg", GATEWAY.substitute(values)
        yield "janus.plugin.sip.jcfg", SIP_PLUGIN.substitute(values)
        yield "janus.transport.websockets.jcfg", WEBSOCKETS.substitute(values)


def _range(first: int) -> str:
    return f"{first}-{first + MEDIA_PORTS - 1}"


class JanusPhone(Agent):
    """One user of a janus: it plays a tone and records, by WebRTC through aiortc.

    Args:
        folder: Its own folder.
        gateway: The running janus.
        tone: Frequency in Hz of what it plays.
    """

    def __init__(self, folder: Path, gateway: Janus, *, tone: int = 880) -> None:
        super().__init__(folder, "peers.janus_phone")
        self.gateway = gateway
        self.tone = tone

    @property
    def recording(self) -> Path:
        """What it heard, complete once it has hung up."""
        return self.folder / "heard.wav"

    async def begin(self, user: str, *, registrar: str = "", password: str = "") -> None:
        """Attach to janus as this user, registered at `registrar` or as a guest."""
        await self.ask(
            "begin",
            url=self.gateway.url,
            user=user,
            registrar=registrar,
            password=password,
            tone=self.tone,
            recording=str(self.recording),
        )

    async def call(self, target: str, *, srtp: str, suite: str) -> Any:
        """Call; returns when it is answered.

        Args:
            target: SIP URI.
            srtp: `"sdes_mandatory"` or `"sdes_optional"`.
            suite: Name of the one suite to offer.
        """
        return await self.ask("call", target=target, srtp=srtp, suite=suite)

    async def answer(self) -> Any:
        """Wait for a call and answer it."""
        return await self.ask("answer")

    async def hang_up(self) -> None:
        """End the call if it is up, and the recording."""
        await self.ask("hang_up")
