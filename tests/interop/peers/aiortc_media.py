"""Media of aiortc: a whole peer connection, or its DTLS-SRTP alone over a plain UDP socket."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import TYPE_CHECKING, Any

from aiortc import (
    RTCCertificate,
    RTCConfiguration,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import (
    RTCRtcpParameters,
    RTCRtpCodecParameters,
    RTCRtpReceiveParameters,
    RTCRtpSendParameters,
)
from aiortc.rtcrtpreceiver import RemoteStreamTrack, RTCRtpReceiver

from peers.program import HOST
from peers.web_audio import ToneTrack, record, speak_pcmu

if TYPE_CHECKING:
    from pathlib import Path

    from aiortc import MediaStreamTrack

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


class WithoutIce:
    """DTLS-SRTP of aiortc on one port: what it says of itself, and the tone both ways.

    Args:
        tone: Frequency in Hz of what it sends.
        recording: Where it writes what it hears.
        hashes: Of its fingerprints.
        wrong: The one of them that is of another certificate.
    """

    def __init__(self, tone: float, recording: Path, hashes: list[str], wrong: str) -> None:
        self._tone, self._recording = tone, recording
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

    def _describe(self, setup: str) -> str:
        """As one of its peer connections writes it, without ICE."""
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

    async def offer(self) -> str:
        """The description of an offer."""
        return self._describe("actpass")

    async def answer(self, offer: str) -> str:
        """Start with what is offered; the answer."""
        self._start(offer, active=True)
        return self._describe("active")

    async def accept(self, answer: str) -> None:
        """Start with what was answered."""
        self._start(answer, active="a=setup:passive" in answer)

    def _start(self, description: str, *, active: bool) -> None:
        port = re.search(r"m=audio (\d+)", description)
        self._datagrams.remote = (HOST, int(port[1]) if port else 9)
        found = re.findall(r"a=fingerprint:(\S+) (\S+)", description)
        self._dtls._set_role("client" if active else "server")
        peer = RTCDtlsParameters([RTCDtlsFingerprint(*one) for one in found])
        run = self._run(peer)
        self._tasks.append(asyncio.create_task(run))  # noqa: TID251  ended by stop

    async def _run(self, peer: RTCDtlsParameters) -> None:
        await self._dtls.start(peer)
        print("DTLS", self._dtls.state, flush=True)
        if self._dtls.state != "connected":
            return
        self._sender = RTCRtpSender(ToneTrack(self._tone), self._dtls)
        self._receiver._set_rtcp_ssrc(self._sender._ssrc)
        rtcp = RTCRtcpParameters(cname="carol", mux=True)
        await self._receiver.receive(RTCRtpReceiveParameters(codecs=[PCMU]))
        await self._sender.send(RTCRtpSendParameters(codecs=[PCMU], rtcp=rtcp))
        await record(self._receiver.track, self._recording)

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


class WithIce:
    """A peer connection of aiortc, whole: ICE, DTLS-SRTP, the tone both ways.

    Args:
        tone: Frequency in Hz of what it sends.
        recording: Where it writes what it hears.
    """

    def __init__(self, tone: float, recording: Path) -> None:
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._tone, self._recording = tone, recording
        self._recorder: asyncio.Task[None] | None = None
        self._connection.on("track", self._on_track)

    def _on_track(self, track: MediaStreamTrack) -> None:
        recording = record(track, self._recording)
        self._recorder = asyncio.create_task(recording)  # noqa: TID251  ended by stop

    async def bind(self, port: int) -> None:
        """Nothing to do: ICE takes ports of its own."""

    async def offer(self) -> str:
        """The description of an offer."""
        self._speak()
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return str(self._connection.localDescription.sdp)

    async def answer(self, offer: str) -> str:
        """Start with what is offered; the answer."""
        await self._connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        self._speak()
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        return str(self._connection.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        """Start with what was answered."""
        await self._connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    def _speak(self) -> None:
        self._connection.addTrack(ToneTrack(self._tone))
        speak_pcmu(self._connection)

    async def stop(self) -> dict[str, Any]:
        """End it; what there is to tell."""
        state, lost = self._connection.connectionState, None
        for one in (await self._connection.getStats()).values():
            if one.type == "remote-inbound-rtp":
                lost = one.packetsLost
        await self._connection.close()
        if self._recorder is not None:
            self._recorder.cancel()
            await asyncio.gather(self._recorder, return_exceptions=True)
        return {"dtls": state, "lost": lost}
