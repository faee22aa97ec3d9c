"""aiortc: a WebRTC peer connection, or its DTLS-SRTP without ICE, with its three fingerprints.

It has no SIP: `aiortc_phone` puts as little around it as a call needs. Nothing of it goes without
ICE either; where that is not wanted a plain UDP socket stands in for it, as in aiortc's own tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peers.agent import Agent
from peers.program import HOST, free_ports

if TYPE_CHECKING:
    from pathlib import Path

HASHES = ("sha-256", "sha-384", "sha-512")


class Aiortc(Agent):
    """A running aiortc that answers every call by itself.

    Args:
        folder: Its own folder.
        tone: Frequency in Hz of what it plays.
        ice: Whether it is a whole peer connection; the rest is for when it is not.
        hashes: Of its fingerprints, in the order it writes them.
        wrong: The one of them whose fingerprint is that of another certificate.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tone: int = 880,
        ice: bool = False,
        hashes: tuple[str, ...] = HASHES,
        wrong: str = "",
    ) -> None:
        super().__init__(folder, "peers.aiortc_phone")
        self.tone = tone
        self.ice = ice
        self.hashes = hashes
        self.wrong = wrong
        self.port = free_ports()
        self.media_port = free_ports()

    @property
    def uri(self) -> str:
        """Where it is called."""
        return f"sip:carol@{HOST}:{self.port}"

    @property
    def recording(self) -> Path:
        """What it heard, complete once the call is over."""
        return self.folder / "heard.wav"

    async def begin(self) -> None:
        """Listen for calls."""
        await self.ask(
            "begin",
            port=self.port,
            media_port=self.media_port,
            tone=self.tone,
            recording=str(self.recording),
            ice=self.ice,
            hashes=self.hashes,
            wrong=self.wrong,
        )

    async def call(self, target: str) -> None:
        """Call; returns when it is answered."""
        await self.ask("call", target=target)

    async def hang_up(self) -> None:
        """End the call."""
        await self.ask("hang_up")

    async def over(self) -> dict[str, Any]:
        """Wait for the end of the call: state of DTLS, packets heard, the peer's lost by RTCP."""
        found = await self.ask("over")
        return dict(found)
