"""Chromium, led over the DevTools protocol: with a phone in a page, JsSIP or SIP.js, or any page.

`scripts/install-peers` fetches both libraries and bundles them into `build/peers/browser`. The
microphone is a WAV file that plays for ever; what the page hears it finds by its own analyser.
"""

from __future__ import annotations

import asyncio
import http.server
import itertools
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from websockets.asyncio.client import ClientConnection, connect

from peers.program import HOST, PeerError, Program
from peers.tone import write_tone

if TYPE_CHECKING:
    from types import TracebackType

LIBRARIES: Final = ("jssip", "sipjs")
PAGE: Final = Path(__file__).with_name("browser_phone")
BUNDLES: Final = Path(__file__).resolve().parents[3] / "build" / "peers" / "browser"
FILES: Final = {"phone.html": PAGE, "phone.js": PAGE, "jssip.js": BUNDLES, "sip.js": BUNDLES}
ITS_TONE: Final = 880
PATIENCE: Final = 30.0
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)


def not_bundled() -> str:
    """Which bundle is missing, or the empty string."""
    missing = [name for name in ("jssip.js", "sip.js") if not (BUNDLES / name).exists()]
    return f"{BUNDLES / missing[0]} is not there (scripts/install-peers)" if missing else ""


class _Files(http.server.BaseHTTPRequestHandler):
    """The page and its scripts."""

    def do_GET(self) -> None:
        name = self.path.strip("/")
        folder = FILES.get(name)
        if folder is None:
            self.send_error(404)
            return
        kind = "text/html" if name.endswith(".html") else "text/javascript"
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.end_headers()
        self.wfile.write((folder / name).read_bytes())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Browser(Program):
    """A running chromium; `async with browser.phone(...)` opens a page with a phone in it."""

    name = "chromium"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server: http.server.ThreadingHTTPServer | None = None

    def start(self) -> None:
        self._server = http.server.ThreadingHTTPServer((HOST, 0), _Files)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        microphone = self.folder / "microphone.wav"
        write_tone(microphone, ITS_TONE, seconds=10)
        profile = self.folder / "profile"
        self.spawn(
            [
                "chromium",
                *FLAGS,
                f"--use-file-for-fake-audio-capture={microphone}",
                f"--user-data-dir={profile}",
                "--remote-debugging-port=0",
                "about:blank",
            ]
        )
        self._told = profile / "DevToolsActivePort"
        self.wait_until(lambda: self._told.exists() and len(self._told.read_text().split()) > 1, 60)

    def stop(self, *arguments: Any) -> None:
        super().stop(*arguments)
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def devtools(self) -> str:
        """Where the browser is led."""
        port, path = self._told.read_text(encoding="ascii").split()
        return f"ws://{HOST}:{port}{path}"

    @property
    def page(self) -> str:
        """The page with the phone."""
        assert self._server is not None
        return f"http://{HOST}:{self._server.server_address[1]}/phone.html"

    def phone(self, library: str, **options: Any) -> Phone:
        """A phone that is connected, and registered unless `register=False`.

        Args:
            library: One of `LIBRARIES`.
            options: `server` (WebSocket URL), `uri`, `user`, `password`, `register`, `video`:
                constraints of its camera, which shows a test picture, and `connection`: more of
                the configuration of its peer connection.
        """
        return Phone(self, {"library": library, "register": True, **options})


class Tab:
    """One page of a browser, until the `async with` is left.

    Attributes:
        events: What the browser said without being asked.
    """

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        self._url = url
        self._numbers = itertools.count(1)
        self._socket: ClientConnection | None = None
        self._session = ""
        self.events: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        self._socket = await connect(self._browser.devtools, max_size=None)
        target = await self.command("Target.createTarget", url=self._url)
        attached = await self.command(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = attached["sessionId"]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._socket is not None
        await self._socket.close()

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have the browser do something of the DevTools protocol; what it answers."""
        assert self._socket is not None
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        async with asyncio.timeout(PATIENCE):
            await self._socket.send(json.dumps(message))
            while True:
                answer = json.loads(await self._socket.recv())
                if answer.get("id") == number:
                    break
                self.events.append(answer)
        if "error" in answer:
            raise PeerError(f"{method}: {answer['error']}")
        return answer["result"]

    async def told(self, method: str, since: int = 0) -> None:
        """Wait until the browser says this, after so many events."""
        assert self._socket is not None
        async with asyncio.timeout(PATIENCE):
            while not any(event.get("method") == method for event in self.events[since:]):
                self.events.append(json.loads(await self._socket.recv()))

    async def run(self, expression: str) -> Any:
        """The value of an expression, once its promise is kept."""
        result = await self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            raise PeerError(f"{expression[:80]}: {result['exceptionDetails']}")
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not await self.run(expression):  # noqa: ASYNC110  another process
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise PeerError(f"not in {PATIENCE} s: {expression}") from None


class Phone(Tab):
    """A page with a phone: calls of `phone.js` from here."""

    def __init__(self, browser: Browser, options: dict[str, Any]) -> None:
        super().__init__(browser, browser.page)
        self._options = options

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self.until("document.readyState === 'complete' && typeof start === 'function'")
        await self.run(f"start({json.dumps(self._options)})")
        await self.noted("registered" if self._options["register"] else "connected")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            try:
                seen = await self.run("JSON.stringify(seen)")
            except (PeerError, TimeoutError, OSError) as broken:
                seen = str(broken)
            with self._browser.log.open("a", encoding="utf-8") as log:
                log.write(f"\nthe page saw {seen}\n")
        await super().__aexit__(kind, error, traceback)

    async def noted(self, what: str, data: str | None = None) -> None:
        """Wait until the page has seen this."""
        same = "" if data is None else f" && each.data === {json.dumps(data)}"
        await self.until(f"seen.some(each => each.what === {json.dumps(what)}{same})")

    async def call(self, target: str, *headers: str) -> None:
        """Call somebody."""
        await self.run(f"phone.call({json.dumps(target)}, {json.dumps(headers)})")

    async def act(self, what: str) -> None:
        """`hangup`, `hold`, `unhold` or `restartIce`, until it is done."""
        await self.run(f"(async () => {{ await phone.{what}(); }})()")

    async def hears(self, hertz: float) -> None:
        """Wait until this tone is the loudest that the page hears."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    heard = await self.run("heard()")
                    if heard and heard["level"] > -60 and abs(heard["hertz"] - hertz) < 8:
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"the page hears {heard}, not {hertz} Hz") from None

    async def stats(self) -> dict[str, Any]:
        """What the browser measured."""
        return await self.run("stats()")
