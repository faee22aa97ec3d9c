"""baresip: a user agent that plays a tone and records what it hears."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from peers.kamailio import DOMAIN, PASSWORD
from peers.program import HOST, PeerError, Program, free_ports, tcp_listening
from peers.tone import is_complete, write_tone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from callmeter.call import Call
    from peers.certificates import Certificates

# Paths are relative: it cuts off the name of a recording after 128 characters.
CONFIGURATION = Template("""\
poll_method             epoll
sip_listen              $host:$sip_port
sip_trans_def           $transport
call_local_timeout      60
call_max_calls          4
audio_source            aufile,tone.wav
audio_player            aubridge,nobody
audio_alert             nil
audio_level             no
audio_txmode            thread
ausrc_srate             $rate
auplay_srate            $rate
ausrc_channels          1
auplay_channels         1
ausrc_format            s16
auplay_format           s16
auenc_format            s16
audec_format            s16
rtp_ports               $media_port-$last_media_port
rtcp_mux                $rtcp_mux
rtp_stats               yes
jitter_buffer_type      fixed
jitter_buffer_delay     5-10
net_interface           $host
module_path             $modules
module                  g711.so
module                  g722.so
module                  opus.so
module                  aubridge.so
module                  aufile.so
module                  sndfile.so
module                  srtp.so
module                  dtls_srtp.so
module                  uuid.so
module_tmp              account.so
module_app              menu.so
module_app              ctrl_tcp.so
module_app              debug_cmd.so
ctrl_tcp_listen         $host:$control_port
snd_path                .
$tls
$video
""")

VIDEO = """\
video_source            fakevideo,nil
video_display           fakevideo,nil
video_size              320x240
video_bitrate           300000
video_fps               15
videnc_format           yuv420p
video_selfview          no
module                  vp8.so
module                  fakevideo.so
"""


class Control:
    """The ctrl_tcp module: commands and events as JSON in netstrings."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._events: list[dict[str, Any]] = []

    async def command(self, name: str, parameters: str = "") -> str:
        """Run a command of the menu; what it printed. Raises `PeerError` when it was refused."""
        body = json.dumps({"command": name, "params": parameters, "token": name}).encode()
        self._writer.write(b"%d:%s," % (len(body), body))
        await self._writer.drain()
        async with asyncio.timeout(20):
            while not (message := await self._receive()).get("response"):
                self._events.append(message)
        if not message["ok"]:
            raise PeerError(f"baresip refused {name!r}: {message.get('data')}")
        return str(message.get("data", ""))

    async def event(self, kind: str, seconds: float = 20) -> dict[str, Any]:
        """The next event of this type; those before it are passed over."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = self._events.pop(0) if self._events else await self._receive()
                    if message.get("type") == kind:
                        return message
        except TimeoutError:
            raise PeerError(f"baresip told no {kind} in {seconds} s") from None

    async def _receive(self) -> dict[str, Any]:
        length = await self._reader.readuntil(b":")
        body = await self._reader.readexactly(int(length[:-1]) + 1)
        message = json.loads(body[:-1])
        if not isinstance(message, dict):
            raise PeerError(f"baresip sent {message!r}")
        return message

    async def close(self) -> None:
        """Close the connection; baresip keeps running."""
        self._writer.close()
        await self._writer.wait_closed()


async def held_and_resumed(
    holder: str,
    call: Call,
    control: Control,
    until: Callable[[Callable[[], object]], Awaitable[None]],
) -> None:
    """One of the two, `"callmeter"` or `"baresip"`, holds a call for a moment.

    Args:
        holder: Who.
        call: It is up.
        control: Of baresip.
        until: Waits for what no event tells of.
    """
    if holder == "callmeter":
        await call.hold()
        await asyncio.sleep(0.4)
        await call.resume()
    else:
        await control.command("hold")
        await until(lambda: call.media.on_hold)
        await asyncio.sleep(0.4)
        assert call.media.on_hold
        await control.command("resume")
        await until(lambda: not call.media.on_hold)
    assert not call.media.on_hold


class Baresip(Program):
    """A running baresip on 127.0.0.1 that answers every call by itself.

    Args:
        folder: Its own folder.
        user: User part of its address.
        tone: Frequency in Hz of what it plays.
        encryption: `""`, `"srtp"`, `"srtp-mand"`, `"srtp-mandf"` or `"dtls_srtp"`.
        rtcp_mux: Whether it offers RTCP on the RTP port.
        transport: `"udp"`, `"tcp"` or `"tls"`.
        certificates: What it shows and trusts over TLS, or None.
        registrar: `"host:port"` of a registrar for `example.test`, or None.
        codecs: In order of preference, with their rates: `"opus/48000/2,pcmu"`.
        rate: Samples a second of what it plays.
        video: Whether it has VP8 and a camera, which sees a test picture.
    """

    name = "baresip"

    def __init__(
        self,
        folder: Path,
        *,
        user: str = "bob",
        tone: int = 880,
        encryption: str = "",
        rtcp_mux: bool = False,
        transport: str = "udp",
        registrar: str | None = None,
        codecs: str = "pcmu,pcma",
        rate: int = 8000,
        certificates: Certificates | None = None,
        video: bool = False,
    ) -> None:
        super().__init__(folder)
        self.user = user
        self.tone = tone
        self.video = video
        self.encryption = encryption
        self.rtcp_mux = rtcp_mux
        self.transport = transport
        self.registrar = registrar
        self.codecs = codecs
        self.rate = rate
        self.certificates = certificates
        # sip_listen takes the port after it for TLS.
        self.port = free_ports(3)
        self.control_port = self.port + 2
        self.media_port = free_ports(20)

    @property
    def uri(self) -> str:
        """Where it is called without a registrar."""
        port = self.port + (self.transport == "tls")
        return f"sip:{self.user}@{HOST}:{port};transport={self.transport}"

    def _tls(self) -> str:
        if self.certificates is None:
            return ""
        self.certificates.write(self.folder)
        identity = "".join(self.certificates.server())
        (self.folder / "identity.pem").write_text(identity, encoding="ascii")
        return f"sip_certificate {self.folder}/identity.pem\nsip_cafile {self.folder}/ca.pem"

    def _account(self) -> str:
        domain = DOMAIN if self.registrar else f"{HOST}:{self.port}"
        parts = [
            f"<sip:{self.user}@{domain};transport={self.transport}>",
            "answermode=auto",
            f"audio_codecs={self.codecs}",
        ]
        if self.video:
            parts.append("video_codecs=vp8")
        if self.encryption:
            parts.append(f"mediaenc={self.encryption}")
        if self.registrar:
            parts += [
                f"auth_user={self.user}",
                f"auth_pass={PASSWORD}",
                "regint=60",
                f'outbound="sip:{self.registrar};transport={self.transport}"',
            ]
        else:
            parts.append("regint=0")
        return ";".join(parts)

    def start(self) -> None:
        modules = next(Path("/usr/lib").glob("**/baresip/modules/ctrl_tcp.so")).parent
        write_tone(self.folder / "tone.wav", self.tone, seconds=60, rate=self.rate)
        text = CONFIGURATION.substitute(
            host=HOST,
            rate=self.rate,
            sip_port=self.port,
            control_port=self.control_port,
            media_port=self.media_port,
            last_media_port=self.media_port + 19,
            transport=self.transport,
            rtcp_mux="yes" if self.rtcp_mux else "no",
            modules=modules,
            tls=self._tls(),
            video=VIDEO if self.video else "",
        )
        (self.folder / "config").write_text(text, encoding="utf-8")
        (self.folder / "accounts").write_text(self._account() + "\n", encoding="utf-8")
        (self.folder / "contacts").write_text("", encoding="utf-8")
        self.spawn(["baresip", "-f", self.folder, "-v", "-s"])
        self.wait_until(lambda: tcp_listening(self.control_port))

    async def control(self) -> Control:
        """A control connection; events are told from now on."""
        return Control(*await asyncio.open_connection(HOST, self.control_port))

    async def heard(self, call: int = 1) -> Path:
        """The recording of what it decoded; it is complete a moment after the call has ended.

        Args:
            call: Which of its calls. It names recordings by the second in which they begin.
        """
        for _ in range(150):
            found = sorted(self.folder.glob("dump-*-dec.wav"))
            if len(found) >= call and is_complete(found[call - 1]):
                return found[call - 1]
            await asyncio.sleep(0.02)
        raise PeerError(f"baresip recorded nothing\n{self.tail()}")
