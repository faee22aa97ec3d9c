"""GStreamer: RTP and RTCP through its SRTP elements, without any signalling."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from peers.program import HOST, PeerError, Program, free_ports, udp_bound
from peers.tone import is_complete

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from callmeter.media.stream import MediaStream

SSRC = 0x12345678
FRAME_NS = 20_000_000
REPORT_NS = 500_000_000

# Cipher, and the authentication of RTP and of RTCP: that of RTCP is never short (RFC 4568 6.2).
SUITES = {
    "AES_CM_128_HMAC_SHA1_80": ("aes-128-icm", "hmac-sha1-80", "hmac-sha1-80"),
    "AES_CM_128_HMAC_SHA1_32": ("aes-128-icm", "hmac-sha1-32", "hmac-sha1-80"),
    "AES_256_CM_HMAC_SHA1_80": ("aes-256-icm", "hmac-sha1-80", "hmac-sha1-80"),
    "AES_256_CM_HMAC_SHA1_32": ("aes-256-icm", "hmac-sha1-32", "hmac-sha1-80"),
    "AEAD_AES_128_GCM": ("aes-128-gcm", "null", "null"),
    "AEAD_AES_256_GCM": ("aes-256-gcm", "null", "null"),
}


class Gstreamer(Program):
    """A running pipeline: PCMU both ways with a stream, a tone sent and what is heard recorded.

    Args:
        folder: Its own folder.
        stream: The open stream it talks to, with a port for RTCP.
        suite: Name of the suite, one of `SUITES`.
        keys: Key and salt of what it sends, and of what it receives.
        tone: Frequency in Hz of what it plays.
    """

    name = "gst-launch-1.0"

    def __init__(
        self,
        folder: Path,
        *,
        stream: MediaStream,
        suite: str,
        keys: tuple[bytes, bytes],
        tone: int = 880,
    ) -> None:
        super().__init__(folder)
        self.stream = stream
        self.suite = suite
        self.keys = keys
        self.tone = tone
        self.media_port = free_ports(2)
        self.recording = folder / "heard.wav"
        self.reports = folder / "reports.rtcp"

    def start(self) -> None:
        command = ["gst-launch-1.0", "-e", "rtpsession", "name=session"]
        command += [f"rtcp-min-interval={REPORT_NS}", *self._sending(), *self._receiving()]
        self.spawn(command)
        ports = (self.media_port, self.media_port + 1)
        # What comes before its clock runs may be lost on elements that are not linked yet.
        self.wait_until(
            lambda: all(map(udp_bound, ports)) and "New clock" in self.tail(), seconds=60
        )

    def _sending(self) -> list[str]:
        cipher, auth, rtcp_auth = SUITES[self.suite]
        secure = ["srtpenc", "name=encoder", f"key={self.keys[0].hex()}"]
        secure += [f"rtp-cipher={cipher}", f"rtp-auth={auth}"]
        secure += [f"rtcp-cipher={cipher}", f"rtcp-auth={rtcp_auth}"]
        audio = f"audiotestsrc is-live=true samplesperbuffer=160 freq={self.tone} volume=0.25"
        packets = f"rtppcmupay ssrc={SSRC} min-ptime={FRAME_NS} max-ptime={FRAME_NS}"
        return [
            *_chain(
                audio,
                "audio/x-raw,rate=8000,channels=1",
                "mulawenc",
                packets,
                "session.send_rtp_sink",
            ),
            *secure,
            *_chain("session.send_rtp_src", "encoder.rtp_sink_0"),
            *_chain("session.send_rtcp_src", "encoder.rtcp_sink_0"),
            *_chain("encoder.rtp_src_0", self._to(self.stream.port)),
            *_chain("encoder.rtcp_src_0", self._to(self.stream.rtcp_port)),
        ]

    def _to(self, port: int) -> str:
        return f"udpsink host={self.stream.address} port={port} sync=false async=false"

    def _receiving(self) -> list[str]:
        hear = ["rtppcmudepay", "mulawdec", "wavenc", f"filesink location={self.recording}"]
        keep = f"filesink location={self.reports} buffer-mode=unbuffered async=false sync=false"
        return [
            "srtpdec",
            "name=decoder",
            *_chain(self._from(self.media_port, "srtp"), "decoder.rtp_sink"),
            *_chain(self._from(self.media_port + 1, "srtcp"), "decoder.rtcp_sink"),
            *_chain("decoder.rtp_src", "session.recv_rtp_sink"),
            *_chain("decoder.rtcp_src", "tee name=told", "queue", "session.recv_rtcp_sink"),
            *_chain("session.recv_rtp_src", *hear),
            *_chain("told.", "queue", keep),
        ]

    def _from(self, port: int, kind: str) -> str:
        cipher, auth, rtcp_auth = SUITES[self.suite]
        caps = {
            "media": "audio",
            "clock-rate": "8000",
            "encoding-name": "PCMU",
            "payload": "0",
            "ssrc": f"(uint){self.stream.ssrc}",
            "srtp-key": f"(buffer){self.keys[1].hex()}",
            "srtp-cipher": cipher,
            "srtp-auth": auth,
            "srtcp-cipher": cipher,
            "srtcp-auth": rtcp_auth,
        }
        fields = ",".join(f"{name}={value}" for name, value in caps.items())
        return f'udpsrc address={HOST} port={port} caps="application/x-{kind},{fields}"'

    async def heard(self) -> Path:
        """End the pipeline; the recording, which is written to its end."""
        if self._process is not None and self.status is None:
            self._process.send_signal(signal.SIGINT)
        if await self.ended(20) or not is_complete(self.recording):
            raise PeerError(f"GStreamer recorded nothing\n{self.tail()}")
        return self.recording


def _chain(*elements: str) -> Sequence[str]:
    """Elements linked one behind the other, as words of a command line."""
    words: list[str] = []
    for element in elements:
        words += ["!"] * bool(words)
        words += element.split(" ")
    return words
