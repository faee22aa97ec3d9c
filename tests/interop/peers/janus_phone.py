"""The process behind `JanusPhone`: the WebSocket protocol of janus, and a browser's side of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from pathlib import Path
from typing import Any

import websockets
from aiortc import (
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)

from peers.agent import serve
from peers.web_audio import ToneTrack, record, speak_pcmu

PATIENCE = 20
OVER = {"hangup", "registration_failed"}


class Phone:
    """One handle of the SIP plugin, and a peer connection for each call."""

    def __init__(self) -> None:
        self._socket: Any = None
        self._handle: dict[str, Any] = {}
        self._tone = 0.0
        self._recording = Path()
        self._connection: RTCPeerConnection | None = None
        self._recorder: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._events: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()

    async def begin(
        self, url: str, user: str, registrar: str, password: str, tone: float, recording: str
    ) -> None:
        """Attach to the plugin and register."""
        self._tone, self._recording = tone, Path(recording)
        self._socket = await websockets.connect(url, subprotocols=["janus-protocol"])
        self._reader = asyncio.create_task(self._read())  # noqa: TID251  lives as long as this
        session = (await self._ask({"janus": "create"}))["data"]["id"]
        attach = {"janus": "attach", "session_id": session, "plugin": "janus.plugin.sip"}
        handle = (await self._ask(attach))["data"]["id"]
        self._handle = {"janus": "message", "session_id": session, "handle_id": handle}
        body: dict[str, Any] = {"request": "register", "username": user}
        if registrar:
            body |= {"proxy": registrar, "secret": password, "ttl": 60}
        else:
            body["type"] = "guest"
        await self._do(body)
        await self._event("registered")

    async def call(self, target: str, srtp: str, suite: str) -> None:
        """Call; done when it is answered."""
        connection = self._connect()
        connection.addTrack(ToneTrack(self._tone))
        speak_pcmu(connection)
        await connection.setLocalDescription(await connection.createOffer())
        body = {
            "request": "call",
            "uri": target,
            "srtp": srtp,
            "srtp_profile": suite,
            "autoaccept_reinvites": True,
        }
        await self._do(body, connection.localDescription)
        told = await self._event("accepted")
        await connection.setRemoteDescription(_description(told))

    async def answer(self) -> None:
        """Answer the call that comes."""
        told = await self._event("incomingcall")
        connection = self._connect()
        await connection.setRemoteDescription(_description(told))
        connection.addTrack(ToneTrack(self._tone))
        speak_pcmu(connection)
        await connection.setLocalDescription(await connection.createAnswer())
        await self._do({"request": "accept"}, connection.localDescription)
        await self._event("accepted")

    async def hang_up(self) -> None:
        """End the call, and the recording of it."""
        if self._connection is not None:
            with contextlib.suppress(RuntimeError):  # the other end was first
                await self._do({"request": "hangup"})
            await self._connection.close()
        if self._recorder is not None:
            self._recorder.cancel()
            await asyncio.gather(self._recorder, return_exceptions=True)

    def _connect(self) -> RTCPeerConnection:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))

        @connection.on("track")
        def on_track(track: Any) -> None:
            recording = record(track, self._recording)
            self._recorder = asyncio.create_task(recording)  # noqa: TID251  ends in hang_up

        self._connection = connection
        return connection

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message)
            print(json.dumps(told), flush=True)
            waiting = self._answers.get(told.get("transaction", ""))
            if waiting is not None and told["janus"] in {"success", "ack", "error"}:
                if not waiting.done():
                    waiting.set_result(told)
                continue
            data = told.get("plugindata", {}).get("data", {})
            kind = data.get("result", {}).get("event") or ("error" if "error" in data else None)
            if kind:
                self._events.put_nowait((kind, told))

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        name = secrets.token_hex(6)
        self._answers[name] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({**message, "transaction": name}))
        async with asyncio.timeout(PATIENCE):
            answer = await self._answers[name]
        if answer["janus"] == "error":
            raise RuntimeError(answer["error"])
        return answer

    async def _do(
        self, body: dict[str, Any], description: RTCSessionDescription | None = None
    ) -> None:
        message = {**self._handle, "body": body}
        if description is not None:
            message["jsep"] = {"type": description.type, "sdp": description.sdp}
        await self._ask(message)

    async def _event(self, name: str) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            while True:
                kind, told = await self._events.get()
                if kind == name:
                    return told
                if kind == "error" or kind in OVER:
                    raise RuntimeError(told["plugindata"]["data"])


def _description(told: dict[str, Any]) -> RTCSessionDescription:
    return RTCSessionDescription(**{name: told["jsep"][name] for name in ("sdp", "type")})


async def main() -> None:
    """Serve one phone."""
    phone = Phone()
    await serve(
        {
            "begin": phone.begin,
            "call": phone.call,
            "answer": phone.answer,
            "hang_up": phone.hang_up,
        }
    )


if __name__ == "__main__":
    asyncio.run(main())
