"""The process behind `Aiortc`: one call at a time, by UDP, with as little SIP as that takes."""

from __future__ import annotations

import asyncio
import re
import secrets
from pathlib import Path
from typing import Any

from peers.agent import serve
from peers.aiortc_media import WithIce, WithoutIce
from peers.program import HOST
from peers.web_audio import stay_on_loopback

PATIENCE = 20


class Phone(asyncio.DatagramProtocol):
    """SIP by UDP, no more of it than one call on loopback needs: nothing is retransmitted."""

    def __init__(self) -> None:
        self._socket: asyncio.DatagramTransport | None = None
        self._media: WithIce | WithoutIce | None = None
        self._answering: asyncio.Task[None] | None = None
        self._port = 0
        self._dialog: dict[str, str] = {}
        self._peer = (HOST, 0)
        self._answered: asyncio.Future[str] | None = None
        self._over = asyncio.Event()

    async def begin(
        self,
        port: int,
        media_port: int,
        tone: float,
        recording: str,
        *,
        ice: bool,
        hashes: list[str],
        wrong: str,
    ) -> None:
        """Listen for calls."""
        self._port = port
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=(HOST, port))
        file = Path(recording)
        self._media = WithIce(tone, file) if ice else WithoutIce(tone, file, hashes, wrong)
        await self._media.bind(media_port)

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
        self._send("INVITE", 1, await self._media.offer())
        async with asyncio.timeout(PATIENCE):
            answer = await self._answered
        self._send("ACK", 1)
        await self._media.accept(answer)

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
        head = head.replace(f"To: {fields['To']}", f"To: {tagged}")
        answering = self._answer(self._media, head, body, source)
        self._answering = asyncio.create_task(answering)  # noqa: TID251  ends by itself

    async def _answer(
        self, media: WithIce | WithoutIce, head: str, offer: str, source: Any
    ) -> None:
        self._respond(head, source, await media.answer(offer))

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
    stay_on_loopback()
    asyncio.run(main())
