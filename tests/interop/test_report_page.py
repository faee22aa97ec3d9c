"""The report page of real calls in chromium: it is drawn, opened, read by keyboard and on a phone.

The pictures of the documentation come from here: `--report-screenshots docs/images/report-page`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from callmeter import (
    CallCancelled,
    CallReport,
    Endpoint,
    EndpointConfig,
    FingerprintMismatch,
    MediaConfig,
    Outcome,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    Stack,
    StackConfig,
    Tone,
)
from callmeter.metrics.series import StreamSeries
from callmeter.testing.misbehaviour import MisbehavingEndpoint, Misbehaviour
from peers.alg import SipAlg
from peers.browser import Browser
from peers.certificates import Certificates
from peers.lossy_relay import LossyRelay
from peers.program import HOST
from peers.report_page import DESKTOP, OPEN_ALL, PHONE, ReportPage

pytestmark = pytest.mark.interop("chromium")

SDES = SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.REQUIRED)
DTLS = SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED)
HOUR = 3600
LIMIT = 1_000_000
SHOWN = {
    ("good", DESKTOP, "light"): ("outcome.png", ""),
    ("loss", DESKTOP, "dark"): ("charts.png", "#quality"),
    ("fingerprint", PHONE, "light"): ("phone.png", ""),
}
"""Pictures in the documentation: the call, the window, the file, and what stands at its top."""


@pytest.fixture
def pictures(request):
    """Where pictures go, or None."""
    folder = request.config.getoption("--report-screenshots")
    if folder is None:
        return None
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


@pytest.fixture
def browser(run, tmp_path):
    return run(Browser(tmp_path / "chromium"))


async def answer_and_talk(bob):
    incoming = await bob.next_call(20)
    with suppress(CallCancelled):
        await incoming.answer()
        async with incoming, asyncio.TaskGroup() as tasks:
            playing = tasks.create_task(incoming.media.play(Tone(880)))
            await incoming.ended()
            playing.cancel()


@pytest.fixture
def misbehaving(phone):
    """The report of a call to an endpoint that does one thing wrong."""

    async def call_it(misbehaviour, srtp, seconds):
        media = MediaConfig(srtp=srtp)
        config = EndpointConfig(f"sip:bob@{HOST}", media=media)
        async with (
            Stack(StackConfig(bind=HOST)) as elsewhere,
            phone("alice", srtp=srtp) as alice,
            MisbehavingEndpoint(config, misbehaviour, elsewhere) as bob,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(answer_and_talk(bob))
            try:
                async with alice.call(str(bob.contact)) as call:
                    await call.media.play(Tone(440), seconds=seconds)
            except FingerprintMismatch as error:
                return error.report
        return call.report()

    return call_it


@pytest.fixture
def good_call(phone, kamailio, baresip):
    """Over TLS through a proxy to a phone, with SDES, held and resumed."""

    async def make():
        certificates = Certificates()
        proxy = kamailio(certificates=certificates)
        bob = baresip(encryption="srtp-mand", tone=880)
        await proxy.bind("bob", f"sip:bob@{HOST}:{bob.port}")
        async with (
            phone(
                "alice",
                proxy=proxy.reached_by("tls"),
                transport="tls",
                certificates=certificates,
                srtp=SDES,
            ) as alice,
            alice.call("sip:bob@example.test") as call,
        ):
            await call.media.play(Tone(440), seconds=3)
            await call.hold()
            await call.resume()
            await call.media.play(Tone(440), seconds=3)
        return call.report()

    return make


async def lossy_call(phone):
    async with (
        Stack(StackConfig(bind=HOST)) as elsewhere,
        LossyRelay(loss=0.07, jitter=0.09) as line,
        phone("alice", srtp=SDES, rtcp_mux=True) as alice,
        Endpoint(
            EndpointConfig(f"sip:bob@{HOST}", media=MediaConfig(srtp=SDES, rtcp_mux=True)),
            elsewhere,
        ) as bob,
        SipAlg((HOST, bob.contact.port), forward=line.forward, backward=line.backward) as alg,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(answer_and_talk(bob))
        async with alice.call(f"sip:bob@{HOST}:{alg.port}") as call:
            await call.media.play(Tone(440), seconds=8)
    return call.report()


def an_hour_of(report: CallReport) -> CallReport:
    """A report as if the call had gone on for an hour, with bad moments."""
    chance = Random(4)
    stream = report.media[0]
    jitter, loss = [], []
    for second in range(HOUR):
        bad = 1700 < second < 1900
        jitter.append(2 + chance.expovariate(1) + (25 + chance.uniform(-9, 20)) * bad)
        loss.append(chance.expovariate(0.25) if bad else 0.0)
    flat = {"packets_recv_rate_ps": 50.0, "bytes_recv_rate_bps": 64_000.0}
    own = {"packets_sent_rate_ps": 50.0, "bytes_sent_rate_bps": 64_000.0}
    series = StreamSeries(
        at_ms=tuple(1000.0 * (second + 1) for second in range(HOUR)),
        send={
            key: tuple(value + chance.uniform(-0.02, 0.02) * value for _ in range(HOUR))
            for key, value in own.items()
        },
        receive={
            **{
                key: tuple(value * (1 - lost / 100) for lost in loss) for key, value in flat.items()
            },
            "jitter_ms": tuple(jitter),
            "fraction_lost": tuple(loss),
            "mos": tuple(4.41 - min(lost, 12) / 5 for lost in loss),
            "srtp_decrypt_failures": tuple(float(second == 1750) for second in range(HOUR)),
        },
    )
    timing = replace(report.timing, call_duration_ms=HOUR * 1e3)
    return replace(report, timing=timing, media=(replace(stream, series=series),) * 2)


async def examine(browser, report, name, tmp_path, pictures):
    """What is true of every page: nothing is fetched, all can be opened and read, anywhere."""
    html = report.to_html()
    assert len(html.encode()) < LIMIT
    file = tmp_path / f"{name}.html"
    file.write_text(html, encoding="utf-8")
    for width, scheme in ((DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")):
        async with ReportPage(browser, file, width=width, scheme=scheme) as page:
            shown = SHOWN.get((name, width, scheme))
            if pictures is not None and shown is not None:
                await page.picture(pictures / shown[0], of=shown[1])
            assert await page.overflow() <= 0
            assert_drawn(await page.charts(), report, width)
            background = await page.run("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, background[4:-1].split(","))) < 200) is (scheme == "dark")
            assert await page.judged() == []
            await page.run(OPEN_ALL)
            assert await page.overflow() <= 0
            assert await page.judged() == []
            assert page.complaints == []
            assert page.fetched == {file.as_uri()}


def assert_drawn(charts, report, width):
    sampled = [stream for stream in report.media if stream.series and stream.series.at_ms]
    assert len(charts) >= 3 * len(sampled)
    for chart in charts:
        assert chart["width"] > width / 4
        assert chart["height"] > 100
        assert chart["colours"] > 2, "nothing but its frame is drawn"


@pytest.mark.interop("chromium", "kamailio", "baresip")
async def test_the_page_of_a_good_call(browser, good_call, tmp_path, pictures):
    report = await good_call()
    assert report.outcome is Outcome.SUCCESS
    await examine(browser, report, "good", tmp_path, pictures)
    async with ReportPage(browser, tmp_path / "good.html") as page:
        headline = await page.run("document.querySelector('h1').textContent")
        # How well it worked is a matter of the machine's load too.
        assert headline.startswith("The call worked")
        await every_message_opens(page, report)
        if pictures is not None:
            await page.run(
                "document.querySelectorAll('.message ins')[0].closest('details').open = 1"
            )
            before = ".message:has(+ .message + .message ins)"
            await page.picture(pictures / "messages.png", of=before)
        await colours_are_switched(page)


async def every_message_opens(page, report):
    """By a click, by Enter and by the space bar, and all of them by the button."""
    messages = len(report.messages)
    assert await page.run("document.querySelectorAll('.message').length") == messages
    opened = "document.querySelectorAll('.message > details[open]').length"
    for number in range(1, messages + 1):
        message = f"#message-{number}"
        match number % 3:
            case 0:
                await page.click(f"{message} summary")
            case kind:
                await page.run(f"document.querySelector('{message} summary').focus()")
                await page.press("Enter" if kind == 1 else " ")
        await page.until(f"document.querySelector('{message} details').open")
        shown = f"document.querySelector('{message} pre').getBoundingClientRect().height"
        assert await page.run(shown) > 50
        text = await page.run(f"document.querySelector('{message} pre').innerText")
        assert report.messages[number - 1].start_line in text
    assert await page.run(opened) == messages
    await page.click("#open-all")
    await page.until(f"{opened} === 0")
    await page.click("#open-all")
    await page.until(f"{opened} === {messages}")
    assert await page.run("document.querySelectorAll('.message ins').length") > 0
    await page.click("#open-all")


async def colours_are_switched(page):
    """By the button, and the charts with them."""
    before = await page.run("getComputedStyle(document.body).backgroundColor")
    await page.run("document.getElementById('theme').focus()")
    await page.press("Enter")
    await page.until(f"getComputedStyle(document.body).backgroundColor !== {before!r}")
    assert await page.run("document.getElementById('theme').textContent") == "Light"
    assert all(chart["colours"] > 2 for chart in await page.charts())
    await page.press("Enter")
    await page.until(f"getComputedStyle(document.body).backgroundColor === {before!r}")


async def test_the_page_of_a_call_with_another_fingerprint(
    browser, misbehaving, tmp_path, pictures
):
    report = await misbehaving(Misbehaviour.WRONG_FINGERPRINT, DTLS, 3)
    assert report.outcome is not Outcome.SUCCESS
    assert any(each.check == "fingerprint_valid" for each in report.diagnosis)
    await examine(browser, report, "fingerprint", tmp_path, pictures)


async def test_the_page_of_a_silent_call(browser, misbehaving, tmp_path, pictures):
    report = await misbehaving(Misbehaviour.SENDS_NOTHING, SDES, 4)
    await examine(browser, report, "silent", tmp_path, pictures)


async def test_the_page_of_a_call_on_a_bad_line(browser, phone, tmp_path, pictures):
    report = await lossy_call(phone)
    assert report.media[0].receive["packets_lost"] > 5
    await examine(browser, report, "loss", tmp_path, pictures)


async def test_the_page_of_an_hour(browser, phone, tmp_path, pictures):
    report = an_hour_of(await lossy_call(phone))
    await examine(browser, report, "hour", tmp_path, pictures)


async def test_no_script_of_a_peer_runs(browser, misbehaving, tmp_path):
    report = await misbehaving(Misbehaviour.SENDS_NOTHING, SDES, 0.5)
    hostile = "</pre></script><script>document.title='owned'</script><img src=x onerror='owned=1'>"
    spoken = tuple(
        replace(entry, raw=entry.raw.replace(b"\r\ns=-", f"\r\ns={hostile}\u2028".encode()))
        for entry in report.messages
    )
    file = tmp_path / "hostile.html"
    hostile_report = replace(report, party=hostile, messages=spoken)
    file.write_text(hostile_report.to_html(), encoding="utf-8")
    async with ReportPage(browser, file) as page:
        await page.run(OPEN_ALL)
        assert await page.run("typeof owned") == "undefined"
        assert "owned" not in await page.run("document.title")
        assert await page.run("document.querySelectorAll('script').length") == 3
        assert "onerror='owned=1'" in await page.run("document.body.innerText")
        assert page.complaints == []
        assert page.fetched == {file.as_uri()}


async def test_a_page_without_javascript_has_all_but_the_drawings(browser, misbehaving, tmp_path):
    report = await misbehaving(Misbehaviour.SENDS_NOTHING, SDES, 2.5)
    file = tmp_path / "plain.html"
    file.write_text(report.to_html(), encoding="utf-8")
    async with ReportPage(browser, file) as page:
        await page.command("Emulation.setScriptExecutionDisabled", value=True)
        await page.reload()
        assert await page.run("document.querySelector('canvas')") is None
        await page.click("#message-1 summary")
        await page.until("document.querySelector('#message-1 details').open")
        await page.click(".chart summary")
        await page.until("document.querySelector('.chart details').open")
        assert await page.run("document.querySelector('.chart td').textContent")
