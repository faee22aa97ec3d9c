"""Audio of aiortc in agents: a tone that is sent, and a recording of what is heard."""

from __future__ import annotations

import asyncio
import fractions
import math
import wave
from typing import TYPE_CHECKING

import aioice.ice
import av
import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpReceiver
from aiortc.mediastreams import MediaStreamError

from peers.program import HOST
from peers.tone import AMPLITUDE, RATE

if TYPE_CHECKING:
    from pathlib import Path

FRAME = 160


def stay_on_loopback() -> None:
    """Have ICE gather the loopback address alone; by itself it leaves that one out."""
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [HOST]


def speak_pcmu(connection: RTCPeerConnection) -> None:
    """Offer or answer PCMU and nothing else."""
    codecs = RTCRtpReceiver.getCapabilities("audio").codecs
    [transceiver] = connection.getTransceivers()
    transceiver.setCodecPreferences([one for one in codecs if one.mimeType == "audio/PCMU"])


class ToneTrack(MediaStreamTrack):
    """A sine wave in frames of 20 ms."""

    kind = "audio"

    def __init__(self, hertz: float) -> None:
        super().__init__()
        self._hertz = hertz
        self._sent = 0
        self._begun: float | None = None

    async def recv(self) -> av.AudioFrame:
        """The next frame, when it is due."""
        clock = asyncio.get_running_loop().time
        if self._begun is None:
            self._begun = clock()
        await asyncio.sleep(self._begun + self._sent / RATE - clock())
        at = np.arange(self._sent, self._sent + FRAME) / RATE
        samples = (AMPLITUDE * np.sin(2 * math.pi * self._hertz * at)).astype("<i2")
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis, :], layout="mono")
        frame.sample_rate = RATE
        frame.pts = self._sent
        frame.time_base = fractions.Fraction(1, RATE)
        self._sent += FRAME
        return frame


async def record(track: MediaStreamTrack, path: Path) -> None:
    """Write what a track gives until it ends or the task is cancelled; 16 bit mono."""
    with wave.open(str(path), "wb") as output:
        output.setnchannels(1)
        output.setsampwidth(2)
        output.setframerate(RATE)
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            for part in resampler.resample(frame):
                output.writeframes(part.to_ndarray().tobytes())
