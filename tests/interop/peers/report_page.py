"""A report page in a browser: what somebody sees of it, and what the browser says."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Final, Self

from peers.browser import BUNDLES, Tab

if TYPE_CHECKING:
    from pathlib import Path

    from peers.browser import Browser

DESKTOP: Final = 1200
PHONE: Final = 360
_HEIGHT: Final = {DESKTOP: 900, PHONE: 740}
_COMPLAINTS: Final = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
_DRAWN: Final = """
[...document.querySelectorAll("[data-chart] canvas")].map((canvas) => {
  const { width, height } = canvas;
  const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  const colours = new Set();
  for (let at = 0; at < pixels.length; at += 4)
    if (pixels[at + 3] > 128) colours.add(`${pixels[at]},${pixels[at + 1]},${pixels[at + 2]}`);
  return { width, height, colours: colours.size };
})
"""
_JUDGED: Final = """
axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] })
  .then(({ violations }) => violations.map(({ id, nodes }) =>
    `${id}: ${nodes.slice(0, 3).map((each) => `${each.html} ${each.failureSummary}`)}`))
"""
OPEN_ALL: Final = 'document.querySelectorAll("details").forEach((each) => { each.open = true; })'


class ReportPage(Tab):
    """A page in a file, opened in a window of one size and colour scheme.

    Args:
        browser: It runs.
        file: The page.
        width: Of the window, `DESKTOP` or `PHONE`.
        scheme: `"light"` or `"dark"`, what the system says.
    """

    def __init__(
        self, browser: Browser, file: Path, *, width: int = DESKTOP, scheme: str = "light"
    ) -> None:
        super().__init__(browser, "about:blank")
        self._file = file
        self._width = width
        self._scheme = scheme

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.command(f"{domain}.enable")
        await self.command(
            "Emulation.setDeviceMetricsOverride",
            width=self._width,
            height=_HEIGHT[self._width],
            deviceScaleFactor=1 if self._width == DESKTOP else 2,
            mobile=self._width == PHONE,
        )
        # Without motion, what is clicked is where it was when it was asked for.
        wishes = {"prefers-color-scheme": self._scheme, "prefers-reduced-motion": "reduce"}
        await self.command(
            "Emulation.setEmulatedMedia",
            features=[{"name": name, "value": value} for name, value in wishes.items()],
        )
        before = len(self.events)
        await self.command("Page.navigate", url=self._file.as_uri())
        await self.told("Page.loadEventFired", before)
        await self.until(
            "[...document.querySelectorAll('[data-chart]')].every((each) => each.children.length)"
        )
        return self

    async def reload(self) -> None:
        """Load the page again."""
        before = len(self.events)
        await self.command("Page.reload")
        await self.told("Page.loadEventFired", before)

    @property
    def complaints(self) -> list[str]:
        """What the console shows: errors, warnings, refusals of the Content Security Policy."""
        return [json.dumps(event) for event in self.events if event.get("method") in _COMPLAINTS]

    @property
    def fetched(self) -> set[str]:
        """What was asked for."""
        return {
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        }

    async def charts(self) -> list[dict[str, int]]:
        """Size and number of colours of each chart."""
        return await self.run(_DRAWN)

    async def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return await self.run("document.documentElement.scrollWidth - innerWidth")

    async def press(self, key: str) -> None:
        """Press a key."""
        texts = {"Enter": "\r", " ": " "}
        for kind in ("keyDown", "keyUp"):
            text = {"text": texts[key]} if kind == "keyDown" and key in texts else {}
            await self.command(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code={" ": "Space"}.get(key, key),
                windowsVirtualKeyCode={"Enter": 13, " ": 32, "Tab": 9}[key],
                **text,
            )

    async def click(self, selector: str) -> None:
        """Click into the middle of an element."""
        x, y = await self.run(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            " found.scrollIntoView({ block: 'center', behavior: 'instant' });"
            " const box = found.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.command(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    async def judged(self) -> list[str]:
        """What axe-core finds fault with."""
        await self.run((BUNDLES / "axe.js").read_text(encoding="utf-8") + "\n;0")
        return await self.run(_JUDGED)

    async def picture(self, file: Path, *, of: str = "") -> None:
        """A picture as large as the window, of the page from its top or from an element on.

        Args:
            file: PNG.
            of: Selector of the element.
        """
        top = await self.run(
            f"{json.dumps(of)} && scrollY - 16 + document.querySelector({json.dumps(of or 'body')})"
            ".getBoundingClientRect().top"
        )
        clip = {"x": 0, "y": top or 0, "width": self._width, "height": _HEIGHT[self._width]}
        shot = await self.command(
            "Page.captureScreenshot",
            format="png",
            captureBeyondViewport=True,
            clip={**clip, "scale": 1},
        )
        await asyncio.to_thread(file.write_bytes, base64.b64decode(shot["data"]))
