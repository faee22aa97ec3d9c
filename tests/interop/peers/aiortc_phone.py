"""The process behind `Aiortc`: one call at a time, by UDP, with as little SIP as that takes."""

from __future__ import annotations

import asyncio
import re
import secrets
from pathlib import Path
from typing import Any

from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCRtpSender
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import (
    RTCRtcpParameters,
    RTCRtpCodecParameters,
    RTCRtpReceiveParameters,
    RTCRtpSendParameters,
)
from aiortc.rtcrtpreceiver import RemoteStreamTrack, RTCRtpReceiver

from peers.agent import serve
from peers.program import HOST
from peers.web_audio import ToneTrack, record

PATIENCE = 20
PCMU = RTCRtpCodecParameters(mimeType="audio/PCMU", clockRate=8000, channels=1, payloadType=0)
PROTOCOL = "UDP/TLS/RTP/SAVPF"


class Datagrams(asyncio.DatagramProtocol):
    """A UDP socket as aiortc sees ICE: what comes, in order, and a way to send."""

    role = "controlled"
    state = "completed"

    def __init__(self) -> None:
        self.remote = (HOST, 9)
        self._socket: asyncio.DatagramTransport | None = None
        self._received: asyncio.Queue[bytes] = asyncio.Queue()

    async def bind(self, port: int) -> None:
        """Open the socket."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=(HOST, port))

    def connection_made(self, transport: Any) -> None:
        self._socket = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._received.put_nowait(data)

    async def _recv(self) -> bytes:
        return await self._received.get()

    async def _send(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.sendto(data, self.remote)

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()


class Media:
    """DTLS-SRTP of aiortc on one port: what it says of itself, and the tone both ways."""

    def __init__(self, hashes: list[str], wrong: str) -> None:
        certificate = RTCCertificate.generateCertificate()
        self._datagrams = Datagrams()
        self._dtls = RTCDtlsTransport(self._datagrams, [certificate])
        other = RTCCertificate.generateCertificate()
        own = {one.algorithm: one.value for one in certificate.getFingerprints()}
        others = {one.algorithm: one.value for one in other.getFingerprints()}
        self._fingerprints = {name: (others if name == wrong else own)[name] for name in hashes}
        self._receiver = RTCRtpReceiver("audio", self._dtls)
        self._receiver._track = RemoteStreamTrack(kind="audio")
        self._sender: RTCRtpSender | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._port = 0

    async def bind(self, port: int) -> None:
        """Open the port."""
        self._port = port
        await self._datagrams.bind(port)

    def describe(self, setup: str) -> str:
        """The session description, as one of its peer connections writes it, without ICE."""
        number = secrets.randbits(60)
        lines = [
            "v=0",
            f"o=- {number} {number} IN IP4 {HOST}",
            "s=-",
            "t=0 0",
            f"m=audio {self._port} {PROTOCOL} 0",
            f"c=IN IP4 {HOST}",
            "a=sendrecv",
            "a=mid:0",
            f"a=rtcp:9 IN IP4 {HOST}",
            "a=rtcp-mux",
            "a=rtpmap:0 PCMU/8000",
            *(f"a=fingerprint:{name} {value}" for name, value in self._fingerprints.items()),
            f"a=setup:{setup}",
        ]
        return "".join(f"{line}\r\n" for line in lines)

    def start(self, description: str, tone: float, recording: Path, *, active: bool) -> None:
        """Start the handshake and the audio with what the other end describes."""
        port = re.search(r"m=audio (\d+)", description)
        self._datagrams.remote = (HOST, int(port[1]) if port else 9)
        found = re.findall(r"a=fingerprint:(\S+) (\S+)", description)
        self._dtls._set_role("client" if active else "server")
        peer = RTCDtlsParameters([RTCDtlsFingerprint(*one) for one in found])
        run = self._run(peer, tone, recording)
        self._tasks.append(asyncio.create_task(run))  # noqa: TID251  ended by stop

    async def _run(self, peer: RTCDtlsParameters, tone: float, recording: Path) -> None:
        await self._dtls.start(peer)
        print("DTLS", self._dtls.state, flush=True)
        if self._dtls.state != "connected":
            return
        self._sender = RTCRtpSender(ToneTrack(tone), self._dtls)
        self._receiver._set_rtcp_ssrc(self._sender._ssrc)
        rtcp = RTCRtcpParameters(cname="carol", mux=True)
        await self._receiver.receive(RTCRtpReceiveParameters(codecs=[PCMU]))
        await self._sender.send(RTCRtpSendParameters(codecs=[PCMU], rtcp=rtcp))
        await record(self._receiver.track, recording)

    async def stop(self) -> dict[str, Any]:
        """End it; what there is to tell."""
        state = self._dtls.state
        told: dict[str, Any] = {"dtls": state, "lost": None}
        if self._sender is not None:
            for one in (await self._sender.getStats()).values():
                if one.type == "remote-inbound-rtp":
                    told["lost"] = one.packetsLost
            await self._sender.stop()
            await self._receiver.stop()
        await self._dtls.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._datagrams.close()
        return told


class Phone(asyncio.DatagramProtocol):
    """SIP by UDP, no more of it than one call on loopback needs: nothing is retransmitted."""

    def __init__(self) -> None:
        self._socket: asyncio.DatagramTransport | None = None
        self._settings: dict[str, Any] = {}
        self._media: Media | None = None
        self._port = 0
        self._dialog: dict[str, str] = {}
        self._peer = (HOST, 0)
        self._answered: asyncio.Future[str] | None = None
        self._over = asyncio.Event()

    async def begin(self, port: int, **settings: Any) -> None:
        """Listen for calls."""
        self._port, self._settings = port, settings
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=(HOST, port))
        self._media = Media(settings["hashes"], settings["wrong"])
        await self._media.bind(settings["media_port"])

    async def call(self, target: str) -> None:
        """Call; done when it is answered."""
        match = re.fullmatch(r"<?sip:(?:[^@]+@)?([\d.]+):(\d+).*", target)
        if match is None or self._media is None:
            raise ValueError(f"cannot call {target}")
        self._peer = (match[1], int(match[2]))
        self._dialog = {
            "From": f"<sip:carol@{HOST}:{self._port}>;tag={secrets.token_hex(4)}",
            "To": f"<{target}>",
            "Call-ID": secrets.token_hex(8),
            "target": target,
        }
        self._answered = asyncio.get_running_loop().create_future()
        self._send("INVITE", 1, self._media.describe("actpass"))
        async with asyncio.timeout(PATIENCE):
            answer = await self._answered
        self._send("ACK", 1)
        self._media_starts(answer, active="a=setup:passive" in answer)

    async def hang_up(self) -> None:
        """End the call."""
        self._send("BYE", 2)
        await self.over()

    async def over(self) -> dict[str, Any]:
        """Wait for the end of the call; what it was like."""
        async with asyncio.timeout(PATIENCE):
            await self._over.wait()
        if self._media is None:
            return {}
        media, self._media = self._media, None
        return await media.stop()

    def connection_made(self, transport: Any) -> None:
        self._socket = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        head, _, body = data.decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        print(first, flush=True)
        if first.startswith("SIP/2.0"):
            self._on_response(first, fields, body)
        elif first.startswith("INVITE "):
            self._on_invite(head, fields, body, addr)
        elif first.startswith("BYE "):
            self._respond(head, addr)
            self._over.set()

    def _on_response(self, first: str, fields: dict[str, str], body: str) -> None:
        status = int(first.split()[1])
        if status < 200:
            return
        if "BYE" in fields["CSeq"]:
            self._over.set()
        elif self._answered is not None and not self._answered.done():
            self._dialog["To"] = fields["To"]
            if status == 200:
                self._answered.set_result(body)
            else:
                self._answered.set_exception(RuntimeError(first))

    def _on_invite(self, head: str, fields: dict[str, str], body: str, source: Any) -> None:
        if self._dialog or self._media is None:  # sent again, or one call too many
            return
        tagged = f"{fields['To']};tag={secrets.token_hex(4)}"
        contact = re.search(r"<([^>]+)>", fields["Contact"])
        self._peer = source
        self._dialog = {
            "From": tagged,
            "To": fields["From"],
            "Call-ID": fields["Call-ID"],
            "target": contact[1] if contact else "",
        }
        answer = self._media.describe("active")
        self._respond(head.replace(f"To: {fields['To']}", f"To: {tagged}"), source, answer)
        self._media_starts(body, active=True)

    def _media_starts(self, description: str, *, active: bool) -> None:
        if self._media is not None:
            recording = Path(self._settings["recording"])
            self._media.start(description, self._settings["tone"], recording, active=active)

    def _respond(self, head: str, source: Any, body: str = "") -> None:
        copied = [
            line
            for line in head.split("\r\n")[1:]
            if line.split(":")[0] in {"Via", "From", "To", "Call-ID", "CSeq", "Record-Route"}
        ]
        self._write(["SIP/2.0 200 OK", *copied], body, source)

    def _send(self, method: str, number: int, body: str = "") -> None:
        dialog = self._dialog
        self._write(
            [
                f"{method} {dialog['target']} SIP/2.0",
                f"Via: SIP/2.0/UDP {HOST}:{self._port};branch=z9hG4bK{secrets.token_hex(8)}",
                "Max-Forwards: 70",
                *(f"{name}: {dialog[name]}" for name in ("From", "To", "Call-ID")),
                f"CSeq: {number} {method}",
            ],
            body,
            self._peer,
        )

    def _write(self, lines: list[str], body: str, destination: Any) -> None:
        lines = [*lines, f"Contact: <sip:carol@{HOST}:{self._port}>"]
        if body:
            lines.append("Content-Type: application/sdp")
        text = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body])
        if self._socket is not None:
            self._socket.sendto(text.encode(), destination)


async def main() -> None:
    """Serve one phone."""
    phone = Phone()
    await serve(
        {"begin": phone.begin, "call": phone.call, "hang_up": phone.hang_up, "over": phone.over}
    )


if __name__ == "__main__":
    asyncio.run(main())
