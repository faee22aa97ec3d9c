"""Every block of Python in the documentation runs, in the order of its page.

A page that is not listed here fails: say in its scene who is there to talk to, which names the
reader has already, and what is to be seen afterwards.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import socket
import wave
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from callmeter import (
    AnnexBRecorder,
    Credentials,
    Endpoint,
    EndpointConfig,
    IvfRecorder,
    MediaConfig,
    SrtpConfig,
    SrtpPolicy,
    TestPattern,
    Tone,
    TransferPolicy,
    VideoConfig,
)
from callmeter.testing.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
SHORT = "0.4"
OWN_TESTS = {
    "how-to/export-metrics.md": "tests/asyncio/test_export_how_to.py",
    "how-to/uvloop.md": "tests/asyncio/test_uvloop.py",
    "how-to/impaired-network.md": "tests/asyncio/test_testing_guides.py",
    "how-to/pytest.md": "tests/asyncio/test_testing_guides.py",
    "how-to/scenario.md": "tests/asyncio/test_scenario_guide.py",
}
"""Pages with a test of their own."""


def python_blocks(page: Path) -> list[str]:
    """The Python of a page, by block; indented ones too."""
    found = re.findall(
        r"^( *)```python[^\n]*\n(.*?)^\1```$",
        page.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    return [inspect.cleandoc("\n" + body) + "\n" for _, body in found]


async def run_block(source: str, names: dict[str, Any]) -> None:
    """Run a block as it stands, but play for a moment only; call its `main` if it does not."""
    source = re.sub(r"seconds=\d+(\.\d+)?", f"seconds={SHORT}", source)
    code = compile(source, "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if "asyncio.run(" in source:
        await asyncio.to_thread(exec, code, names)
        return
    waiting = eval(code, names)
    if inspect.isawaitable(waiting):
        await waiting
    main = names.get("main")
    if main is not None and not inspect.signature(main).parameters:
        del names["main"]
        await main()


class Reader:
    """Somebody who types the blocks of a page one after the other.

    Attributes:
        world: Who is there to talk to.
        names: What the reader has defined so far.
        left: Blocks that were not run yet.
        folder: The working directory.
    """

    def __init__(self, world: Any, blocks: list[str], folder: Path) -> None:
        self.world = world
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.left = list(blocks)
        self.folder = folder

    async def run(self, blocks: int = 0) -> None:
        """Run so many blocks; 0: all that are left."""
        for _ in range(blocks or len(self.left)):
            await run_block(self.left.pop(0), self.names)

    def config(self, user: str, **settings: Any) -> EndpointConfig:
        """What a reader has configured before the page begins."""
        return EndpointConfig(f"sip:{user}@example.com", Credentials(user, "s3cret"), **settings)

    async def alice_calls(self, target: str = "bob", **settings: Any) -> None:
        """The page goes on in a call, `call`, of an endpoint `alice`."""
        await self.alice(**settings)
        answered = self.names["alice"].call(f"sip:{target}@example.com")
        self.names["call"] = await self.world.exits.enter_async_context(answered)
        await self.names["call"].media.play(Tone(440), seconds=0.2)

    async def alice(self, **settings: Any) -> None:
        """The page goes on with an endpoint `alice`."""
        names, exits = self.names, self.world.exits
        names["config"] = self.config("alice", **settings)
        names["alice"] = await exits.enter_async_context(Endpoint(names["config"]))
        names.update(Endpoint=Endpoint, EndpointConfig=EndpointConfig, Tone=Tone)


SCENES: dict[str, Any] = {}


def scene(*pages: str) -> Callable[[Any], Any]:
    def register(play: Any) -> Any:
        SCENES.update(dict.fromkeys(pages, play))
        return play

    return register


READ_ONLY = {"how-to/interop.md"}
"""Pages that speak of what is not part of the package."""


def pages() -> list[str]:
    """Pages with Python in them."""
    found = [path for path in DOCS.rglob("*.md") if "decisions" not in path.parts]
    named = {str(path.relative_to(DOCS)): path for path in found} | {
        "README.md": ROOT / "README.md"
    }
    return sorted(
        name for name, path in named.items() if python_blocks(path) and name not in READ_ONLY
    )


@pytest.mark.parametrize("page", pages())
async def test_each_block_of_the_page_runs(page, open_world, tmp_path, monkeypatch, capsys, until):
    if page in OWN_TESTS:
        assert page.rsplit("/", 1)[1] in (ROOT / OWN_TESTS[page]).read_text(encoding="utf-8")
        return
    monkeypatch.chdir(tmp_path)
    path = ROOT / page if page == "README.md" else DOCS / page
    async with asyncio.timeout(60), open_world() as world:
        reader = Reader(world, python_blocks(path), tmp_path)
        play = SCENES[page]
        more = {"until": until} if "until" in inspect.signature(play).parameters else {}
        await play(reader, lambda: capsys.readouterr().out, **more)
        assert not reader.left


def test_no_scene_is_left_of_a_page_that_went():
    assert set(SCENES) | set(OWN_TESTS) == set(pages())


@scene("README.md")
async def a_secure_call(reader, printed):
    await reader.world.answers("bob", media=MediaConfig.sip_trunk())
    await reader.run()
    assert "SUCCESS" in (report := printed())
    assert "SECURE: SDES" in report


@scene("tutorial/first-secure-call.md")
async def the_tutorial(reader, printed):
    await reader.run()
    assert "SECURE: SDES" in printed()


@scene("tutorial/examples.md")
async def an_example(reader, printed):
    await reader.run()
    assert printed().strip() == "lost 0 unreadable 0"


@scene("how-to/register.md")
async def register(reader, printed):
    del printed
    await reader.run()
    assert not reader.world.registrar.contacts("alice")


@scene("how-to/answer-calls.md")
async def answer_calls(reader, printed):
    del printed
    reader.names["config"] = reader.config("bob")
    answering = reader.world.meanwhile(reader.run())
    report = await reader.world.call("bob", packets=11)
    assert report["media"][0]["receive"]["packets_received"] > 10
    answering.cancel()


@scene("how-to/early-media.md")
async def early_media(reader, printed):
    del printed
    with_tone(reader.folder / "announcement.wav")
    serving = reader.world.meanwhile(reader.run(1))
    await reader.world.call("service")
    await serving

    serving = reader.world.meanwhile(announce(await reader.world.endpoint("service")))
    await reader.alice()
    await reader.run(1)
    await reader.world.answers("bob")
    await reader.run(1)


async def announce(service: Endpoint) -> None:
    incoming = await service.next_call()
    await incoming.progress()
    await incoming.media.play(Tone(440), seconds=0.4)
    async with await incoming.answer() as call:
        await call.ended()


def with_tone(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(2 * 4000))


@scene("how-to/change-media.md")
async def change_media(reader, printed):
    await reader.world.answers("bob")
    await reader.run(1)
    assert printed().strip() == "1"
    await reader.alice(media=MediaConfig(deferred=True))
    async with reader.names["alice"].call("sip:bob@example.com") as call:
        reader.names["call"] = call
        await reader.run(1)
        await call.media.play(Tone(440), seconds=0.4)


@scene("how-to/signalling-load.md")
async def a_signalling_load(reader, printed, until):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shorter = {"5070": str(port), "10_000": "20", "rate=500": "rate=100", "hold=2.0": "hold=0.1"}
    for before, after in shorter.items():
        reader.left = [block.replace(before, after) for block in reader.left]
    answering = reader.world.meanwhile(reader.run(1))
    await until(lambda: is_taken(port))
    await reader.run(1)
    await answering
    assert sorted(printed().splitlines()) == ["20 0 0 {200: 20}", "20 20 0"]


def is_taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


@scene("how-to/many-calls.md")
async def many_calls(reader, printed):
    secure = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
    await reader.world.answers("bob", media=secure)
    await reader.run(1)
    assert "ASR 100.0%" in printed()
    await reader.run()
    await reader.names["hold"]("sip:bob@example.com", 3, 0.4)
    late, quantile = printed().split()
    assert int(late) >= 0
    assert float(quantile) >= 0


@scene("how-to/choose-codecs.md")
async def choose_codecs(reader, printed):
    await reader.world.answers("bob", media=MediaConfig(codecs=("PCMU", "G722", "opus")))
    await reader.run(1)
    assert printed().strip() == "opus 0"
    await reader.alice_calls(media=MediaConfig(codecs=("G722",)))
    await reader.run(1)


@scene("how-to/report-page.md")
async def the_report_page(reader, printed):
    del printed
    await reader.world.answers("bob")
    await reader.run()
    page = (reader.folder / "call.html").read_text(encoding="utf-8")
    assert "The call worked" in page
    assert "SIP/2.0 200 OK" in page


@scene("how-to/capture.md")
async def capture(reader, printed):
    del printed
    await reader.world.answers("bob")
    await reader.run()
    assert (reader.folder / "call.pcapng").stat().st_size > 1000


@scene("how-to/check-a-server.md")
async def check_a_server(reader, printed):
    await reader.world.answers("600", media=MediaConfig.unknown_peer())
    await reader.run()
    assert "PASS  call sdes" in printed()
    assert (reader.folder / "check-up.html").stat().st_size > 1000


@scene("how-to/rekey.md")
async def rekey(reader, printed):
    await reader.world.answers("bob", media=MediaConfig.sip_trunk())
    await reader.run(1)
    assert "SUCCESS" in printed()
    await reader.alice_calls(media=MediaConfig.sip_trunk())
    await reader.run()


@scene("how-to/session-timers.md")
async def session_timers(reader, printed):
    await reader.world.answers("bob")
    await reader.run()
    assert printed().strip() == "0"  # nothing is due in so short a call


@scene("how-to/silent-call.md")
async def silent_call(reader, printed):
    await reader.world.answers("bob")
    await reader.alice_calls()
    await reader.run()
    assert "none" in printed()


@scene("how-to/require-srtp.md", "how-to/dtls-srtp.md")
async def settings_of_srtp(reader, printed):
    await reader.run()
    assert reader.names["media"].srtp.policy.name == "REQUIRED"
    assert not printed()


@scene("how-to/locate-servers.md")
async def locate_servers(reader, printed):
    del printed
    await reader.run()
    assert reader.names["config"].transport.name == "AUTO"


@scene("how-to/misbehaving-endpoint.md")
async def a_misbehaving_endpoint(reader, printed):
    await reader.run(1)
    assert "tag" in printed()
    reader.names.update(pytest=pytest, CONFIG=reader.config("mallory"))
    await reader.run(1)


@scene("how-to/test-a-pbx.md")
async def a_test_of_a_pbx(reader, printed):
    del printed
    await reader.run()


@scene("how-to/messages-and-events.md")
async def messages_and_other_requests(reader, printed, until):
    world = reader.world
    bob = await world.endpoint("bob")
    heard = world.meanwhile(answer_messages(bob, bob.incoming_messages()))
    reader.names.update(config=reader.config("alice"), Endpoint=Endpoint)
    reading = world.meanwhile(reader.run(1))
    await heard
    await until(lambda: "on its way" in printed())
    reading.cancel()

    voice_mail = await world.endpoint("alice")
    serving = world.meanwhile(count_messages(voice_mail))
    await reader.alice()
    await reader.run(1)
    assert "Messages-Waiting: yes" in printed()
    serving.cancel()

    reader.names["server"] = voice_mail
    serving = world.meanwhile(reader.run(1))
    async with bob.subscribe("sip:alice@example.com", "message-summary") as subscription:
        assert "no" in (await anext(subscription)).text
        assert "yes" in (await anext(subscription)).text
    serving.cancel()

    world.meanwhile(answer_and_wait(bob))
    await reader.alice_calls()
    await reader.run(1)

    reader.names["endpoint"] = bob
    serving = world.meanwhile(reader.run(1))
    assert "200 OK" in await publish(bob)
    serving.cancel()


async def answer_messages(bob: Endpoint, messages: Any) -> None:
    async for message in messages:
        assert message.text == "on my way"
        await bob.message(message.sender, "so is the train: on its way")
        return


async def count_messages(server: Endpoint) -> None:
    async for incoming in server.incoming_subscriptions("message-summary"):
        incoming.accept(b"Messages-Waiting: yes\r\n", "application/simple-message-summary")
        incoming.terminate()


async def answer_and_wait(bob: Endpoint) -> None:
    await (await (await bob.next_call()).answer()).ended()


async def publish(endpoint: Endpoint) -> str:
    """The answer to a PUBLISH from a socket."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(0)
        here = f"127.0.0.1:{bound.getsockname()[1]}"
        lines = (
            f"PUBLISH {endpoint.contact} SIP/2.0",
            f"Via: SIP/2.0/UDP {here};branch=z9hG4bKdoc;rport",
            "From: <sip:zoe@example.com>;tag=z",
            f"To: <{endpoint.contact}>",
            "Call-ID: doc",
            "CSeq: 1 PUBLISH",
            "Max-Forwards: 70",
            "Event: presence",
            "Content-Length: 0",
        )
        there = ("127.0.0.1", endpoint.contact.port)
        await loop.sock_sendto(bound, ("\r\n".join(lines) + "\r\n\r\n").encode(), there)
        return (await loop.sock_recv(bound, 65_535)).decode()


@scene("how-to/choose-the-mode.md")
async def every_mode(reader, printed):
    await reader.world.answers("bob", media=MediaConfig.unknown_peer())
    await reader.run()
    clear, sdes, dual = printed().splitlines()
    assert clear == "clear SUCCESS none None"
    assert sdes == "sdes SUCCESS sdes AES_CM_128_HMAC_SHA1_80"
    assert dual.startswith("dual SUCCESS dtls ")


@scene("how-to/test-a-trunk.md")
async def a_trunk(reader, printed):
    del printed
    names = reader.names
    await reader.world.answers("600", media=MediaConfig.sip_trunk())
    await reader.run()
    for name in ("call_is_encrypted_and_good", "new_keys_are_followed", "number_that_is_not"):
        (test,) = [test for key, test in names.items() if name in key]
        setting_up = names["trunk"].__wrapped__()
        await test(await anext(setting_up))
        await setting_up.aclose()
    await names["test_clear_media_is_refused"]()


@scene("how-to/test-a-webrtc-gateway.md")
async def a_gateway(reader, printed):
    await reader.run()
    # The registrar of this world is no gateway: both ends speak alike.
    bob = replace(reader.names["desk_phone"], media=reader.names["browser"].media)
    alice = replace(reader.names["browser"], transport=bob.transport)
    await reader.names["main"](alice, bob)
    assert printed().strip() == "dtls UDP/TLS/RTP/SAVPF SUCCESS"


@scene("how-to/embed-in-a-harness.md")
async def a_harness(reader, printed):
    await reader.world.answers("bob", media=MediaConfig.unknown_peer())
    await reader.run()
    told = sorted(printed().splitlines())
    assert told == ["CALL_FAILED 404", "CALL_FAILED 404", "SUCCESS 200", "SUCCESS 200"]


@scene("how-to/transfer.md")
async def transfers(reader, printed):
    world = reader.world
    await world.answers("bob", "carol", transfers=TransferPolicy.FOLLOW)
    reader.names["config"] = reader.config("alice")
    await reader.run(1)
    assert not printed()  # neither refused nor failed

    await reader.alice()
    await reader.run(1)

    alice = await world.endpoint("alice")
    for _ in range(2):
        transferring = world.meanwhile(transfer_to(alice, "sip:carol@example.com"))
        await reader.run(1)
        assert await transferring == 200
    assert reader.names["successor"] is not None


async def transfer_to(alice: Endpoint, target: str) -> int:
    call = await (await alice.next_call()).answer()
    return await call.transfer(target)


@scene("how-to/use-tls.md", "how-to/call-a-browser.md")
async def tls(reader, printed):
    del printed
    authority = Authority("Root of the page")
    own = authority.issue("sip.example.com")
    for name, text in (
        ("company-root.pem", authority.pem),
        ("fullchain.pem", own.certificate),
        ("privkey.pem", own.private_key),
    ):
        (reader.folder / name).write_text(text)
    reader.names.update(root=authority.pem, own=own.certificate, key=own.private_key)
    await reader.run()


@scene("reference/api.md")
async def the_reference(reader, printed):
    del printed
    await reader.run()
    assert reader.names["media"].video.bandwidth == 500


@scene("how-to/video.md")
async def video(reader, printed):
    pattern = {"width": 160, "height": 120, "frame_rate": 30.0, "key_frame_interval_s": 0.5}
    with_clips(reader.folder, pattern)
    bob = await reader.world.endpoint("bob", media=MediaConfig(video=VideoConfig()))
    reader.world.meanwhile(show(bob, pattern))
    await reader.run(1)
    assert "key frames" in printed()
    await reader.alice_calls(media=MediaConfig(video=VideoConfig()))
    await reader.run(3)
    assert "(120, 160)" in printed()
    await reader.run()


async def show(endpoint, pattern):
    """Answer every call and send a pattern."""
    async with asyncio.TaskGroup() as calls:
        async for incoming in endpoint.incoming():
            call = await incoming.answer()
            calls.create_task(call.media.video.play(TestPattern(**pattern)))


def with_clips(folder, pattern):
    """A second of video in a file of each format."""
    for recorder in (IvfRecorder(folder / "clip.ivf"), AnnexBRecorder(folder / "clip.h264")):
        codec = "VP8" if isinstance(recorder, IvfRecorder) else "H264"
        source = TestPattern(**pattern, codec=codec)
        for _ in range(30):
            recorder.write(source.next_frame())
        recorder.close()
