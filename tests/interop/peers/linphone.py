"""linphone: a user agent that answers by itself and plays a file when it is told to."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from string import Template
from typing import TYPE_CHECKING

from peers.program import HOST, PeerError, Program, free_ports
from peers.tone import is_complete, write_tone

if TYPE_CHECKING:
    from pathlib import Path

    from peers.certificates import Certificates

# Without the IPv6 lines it puts a global address of the machine into its SDP.
CONFIGURATION = Template("""\
[sip]
sip_port=$port
sip_tcp_port=$port
sip_tls_port=$tls_port
bind_address=$host
use_ipv6=0
ipv6_migration_done=1
guess_hostname=0
contact=sip:carol@$host:$port
register_only_when_network_is_up=0
auto_net_state_mon=0
default_proxy=-1
media_encryption=$encryption
media_encryption_mandatory=1
root_ca=$authority
verify_server_certs=1
verify_server_cn=1
client_cert_chain=$certificate
client_cert_key=$key
[net]
mtu=0
firewall_policy=0
[rtp]
bind_address=$host
audio_rtp_port=$media_port
rtcp_mux=$rtcp_mux
rtcp_xr_enabled=1
rtcp_xr_voip_metrics_enabled=1
rtcp_xr_rcvr_rtt_mode=all
rtcp_xr_rcvr_rtt_max_size=10000
audio_adaptive_jitt_comp_enabled=0
[sound]
echocancellation=0
[misc]
uuid=00000000-0000-0000-0000-0000000000aa
[app]
auto_download_mediaplugins=0
""")


class Linphone(Program):
    """A running linphone on 127.0.0.1: SIP over UDP, TCP and TLS, encrypted media only.

    Args:
        folder: Its own folder.
        certificates: Whose authority it trusts over TLS, and what it shows; or None.
        tone: Frequency in Hz of what `play` plays.
        encryption: `"srtp"` (SDES) or `"dtls"`.
        rtcp_mux: Whether it offers RTCP on the RTP port.
    """

    name = "linphone"

    def __init__(
        self,
        folder: Path,
        *,
        certificates: Certificates | None = None,
        tone: int = 880,
        encryption: str = "srtp",
        rtcp_mux: bool = False,
    ) -> None:
        super().__init__(folder)
        self.encryption = encryption
        self.rtcp_mux = rtcp_mux
        self.certificates = certificates
        self.tone = tone
        self.port = free_ports(2)
        self.tls_port = self.port + 1
        self.media_port = free_ports(2)

    @property
    def uri(self) -> str:
        """Where it is called by UDP and TCP; nobody can call it by TLS."""
        return f"sip:carol@{HOST}:{self.port}"

    def start(self) -> None:
        for part in (".local/share/linphone", ".config/linphone"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        if self.certificates is not None:
            self.certificates.write(self.folder)
        write_tone(self.folder / "tone.wav", self.tone, seconds=30)
        text = CONFIGURATION.substitute(
            host=HOST,
            port=self.port,
            tls_port=self.tls_port,
            media_port=self.media_port,
            authority=self._file("ca.pem"),
            certificate=self._file("good.pem"),
            key=self._file("good.key"),
            encryption=self.encryption,
            rtcp_mux=int(self.rtcp_mux),
        )
        (self.folder / "linphonerc").write_text(text, encoding="utf-8")
        # Not by --pipe: that socket has one name for all linphones of a user.
        command = ["linphonec", "-c", self.folder / "linphonerc", "-a", "-d", "6"]
        home = os.environ | {"HOME": str(self.folder)}
        self.spawn([*command, "-l", self.folder / "linphone.log"], home, stdin=subprocess.PIPE)
        self.command("soundcard use files")
        self.wait_until(lambda: "Using wav files" in self.output())

    def _file(self, name: str) -> Path | str:
        return "" if self.certificates is None else self.folder / name

    def command(self, text: str) -> None:
        """One line of its console; lines are carried out one after the other."""
        self.write(text)

    def play(self) -> None:
        """Send the tone in the call that is up; it sends nothing until then."""
        self.command(f"play {self.folder}/tone.wav")

    def record(self) -> None:
        """Record what it hears in the call that is up."""
        self.command(f"record {self.folder}/heard.wav")

    async def heard(self) -> Path:
        """The recording; it is complete a moment after the call has ended."""
        recording = self.folder / "heard.wav"
        for _ in range(250):
            if recording.exists() and is_complete(recording):
                return recording
            await asyncio.sleep(0.02)
        raise PeerError(f"linphone recorded nothing\n{self.tail()}")

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        if self.status is None and self._process is not None:
            self.write("quit")
        super().stop(sign)
