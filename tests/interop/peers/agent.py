"""A program of ours around a library of others, in a process of its own.

The test side is `Agent`, the other side `serve`: requests and answers are JSON, one a line. A
library that breaks takes its own process with it, and its log is shown like that of any peer.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers.program import HOST, PeerError, Program, free_ports, tcp_listening

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Command = Callable[..., Awaitable[object]]


class Agent(Program):
    """A running agent.

    Args:
        folder: Its own folder.
        module: What runs there, a module with a `main` that calls `serve`.
    """

    def __init__(self, folder: Path, module: str) -> None:
        self.name = module.rpartition(".")[2]
        super().__init__(folder)
        self.module = module
        self.control_port = free_ports()

    def start(self) -> None:
        path = str(Path(__file__).resolve().parent.parent)
        command = [sys.executable, "-P", "-m", self.module, str(self.control_port)]
        self.spawn(command, environment=os.environ | {"PYTHONPATH": path})
        self.wait_until(lambda: tcp_listening(self.control_port), seconds=60)

    async def ask(self, command: str, *, seconds: float = 30, **arguments: object) -> Any:
        """Have a command done; what it returned.

        Raises:
            PeerError: It failed, or the agent ended.
        """
        reader, writer = await asyncio.open_connection(HOST, self.control_port)
        try:
            writer.write(json.dumps([command, arguments]).encode() + b"\n")
            async with asyncio.timeout(seconds):
                line = await reader.readline()
        except TimeoutError:
            raise PeerError(f"{self.name} needed over {seconds} s to {command}") from None
        finally:
            writer.close()
            await writer.wait_closed()
        if not line:
            raise PeerError(f"{self.name} ended\n{self.tail()}")
        answer = json.loads(line)
        if "failed" in answer:
            raise PeerError(f"{self.name} could not {command}: {answer['failed']}\n{self.tail()}")
        return answer["done"]


async def serve(commands: Mapping[str, Command]) -> None:
    """Take commands on the port that the command line names, until the process is ended."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            if line:
                name, arguments = json.loads(line)
                try:
                    answer = {"done": await commands[name](**arguments)}
                except Exception as error:  # noqa: BLE001  it is told to the test
                    print(f"{name}: {error!r}", file=sys.stderr, flush=True)
                    answer = {"failed": repr(error)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(converse, HOST, int(sys.argv[1]))
    async with server:
        await server.serve_forever()
