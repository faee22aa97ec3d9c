"""A call in which both ends play a tone, and what has to be true of it.

An `Expectation` says how the call is keyed. It is a row of the interop matrix, and it judges the
report.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from callmeter import TimerConfig, Tone
from callmeter.testing.explanation import explanation
from peers.tone import loudest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from callmeter.call import Call
    from callmeter.media.stream import MediaStream

OWN_TONE: Final = 440
ITS_TONE: Final = 880
PACKETS: Final = 60
ENOUGH: Final = 40
"""Packets that show that media flows: the other end stops a little later, or earlier."""
PATIENCE: Final = 30.0
UNHURRIED: Final = TimerConfig(t1=4, t2=4)
"""Where messages are counted: none is sent again because the machine stood still for a moment."""

Role = Literal["caller", "callee", "media"]


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """How a call is keyed.

    Attributes:
        peer: Name of the program.
        role: What the peer is in the call; `"media"` without signalling.
        keying: `"none"`, `"sdes"` or `"dtls"`.
        suite: SRTP suite, None for clear media.
        profile: Of the m= line.
        rtcp_mux: Whether RTCP shares the port of the media.
        rtcp: Whether reports are waited for, until one has told the round trip time.
        note: What else there is to know of the call, such as `"of a dual offer"`.
    """

    peer: str
    role: Role
    keying: str
    suite: str | None
    profile: str
    rtcp_mux: bool
    rtcp: bool = False
    note: str = ""

    def row(self) -> dict[str, Any]:
        """The row of the interop matrix."""
        return asdict(self) | {"suite": self.suite and str(self.suite)}

    def assert_met(self, report: dict[str, Any]) -> None:
        """The report of the call, once it is over, agrees and has nothing to complain about."""
        [audio] = report["media"]
        found = {name: audio[name] for name in ("keying", "suite", "profile", "rtcp_mux")}
        wanted = {name: getattr(self, name) for name in found}
        assert found == wanted, f"{found}, not {wanted}"
        failing = [check for check in report["diagnosis"] if check["status"] == "fail"]
        assert failing == [], f"the diagnosis complains: {failing}"
        assert report["outcome"] == "SUCCESS", report["outcome"]
        received = audio["receive"]
        assert received["packets_received"] >= ENOUGH, received
        assert received["packets_lost"] == 0, received
        assert received["srtp_decrypt_failures"] == 0, received
        assert report["counters"]["dtls_rehandshakes"] == 0, report["counters"]
        if self.rtcp:
            assert 0 <= audio["send"]["rtt_ms"] < 1000, audio["send"]


def assert_heard(recording: Path, hertz: float) -> None:
    """The strongest tone of a recording is this one, and there is little else."""
    found, share = loudest(recording)
    assert abs(found - hertz) <= 5, f"{found:.0f} Hz in {recording.name}, not {hertz} Hz"
    assert share > 0.9, f"only {share:.0%} of {recording.name} is the tone"


async def talk(call: Call, heard: Path, *, rtcp: bool = False, others: Sequence[Call] = ()) -> None:
    """Play the own tone and record what comes until both ends have heard enough.

    Args:
        call: An answered call.
        heard: Where to record to.
        rtcp: Go on until a report of the peer has told the round trip time: it has read ours.
        others: See `exchanged`.
    """
    call.media.record(heard)
    await exchange(call, rtcp=rtcp, others=others)


async def exchange(call: Call, *, rtcp: bool = False, others: Sequence[Call] = ()) -> None:
    """Play the own tone until enough has gone both ways; the arguments are those of `talk`."""
    async with asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(call.media.play(Tone(OWN_TONE)))
        await exchanged(call.media.stream, rtcp=rtcp, call=call, others=others)
        playing.cancel()


async def converse(call: Call, hertz: float, heard: Path) -> None:
    """Play a tone and record what comes, until enough went both ways or the call is over."""
    call.media.record(heard)
    sent, received = _sent(call), _heard(call)

    def enough() -> bool:
        return min(_sent(call) - sent, _heard(call) - received) >= PACKETS

    await _while_it_plays(call, hertz, lambda: call.over or enough())


async def hear(call: Call, packets: int) -> None:
    """Play the own tone until so many packets have come in this call from now on."""
    begun = _heard(call)
    await _while_it_plays(call, OWN_TONE, lambda: _heard(call) - begun >= packets)


async def _while_it_plays(call: Call, hertz: float, enough: Callable[[], bool]) -> None:
    async with asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(call.media.play(Tone(hertz)))
        try:
            async with asyncio.timeout(PATIENCE):
                while not enough():  # noqa: ASYNC110  there is no event
                    await asyncio.sleep(0.02)
        except TimeoutError:
            figures = str(call.media.statistics())
            told = explanation(call, figures, "packets each way")
            raise AssertionError(f"not enough in {PATIENCE} s: {told}") from None
        playing.cancel()


def _sent(call: Call) -> int:
    statistics = call.media.statistics()
    return 0 if statistics is None else statistics.send.packets_sent


def _heard(call: Call) -> int:
    statistics = call.media.statistics()
    return 0 if statistics is None else statistics.receive.packets_received


async def exchanged(
    stream: MediaStream | None,
    *,
    rtcp: bool = False,
    call: Call | None = None,
    others: Sequence[Call] = (),
) -> None:
    """Wait until enough packets have gone both ways on a stream that plays, from now on.

    With the call, one that ends meanwhile fails at once, and the failure says what its report does.

    Args:
        stream: What plays.
        rtcp: See `talk`.
        call: The call of the stream.
        others: Further calls on the way to whom is heard. One that ends meanwhile fails too, and a
            failure explains them as well; a list may still be filled while this waits.
    """
    assert stream is not None
    begun = stream.statistics()
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                now = stream.statistics()
                received = now.receive.packets_received - begun.receive.packets_received
                sent = now.send.packets_sent - begun.send.packets_sent
                reported = now.rtt_ms is not None
                if received >= PACKETS and sent >= PACKETS and (reported or not rtcp):
                    return
                calls = [each for each in (call, *others) if each is not None]
                if any(each.over for each in calls):
                    raise AssertionError(f"it ended: {_told(stream, calls)}")
                await asyncio.sleep(0.05)
    except TimeoutError:
        calls = [each for each in (call, *others) if each is not None]
        raise AssertionError(f"not enough in {PATIENCE} s: {_told(stream, calls)}") from None


def _told(stream: MediaStream, calls: Sequence[Call]) -> str:
    """Everything that says why not enough was heard."""
    figures = str(stream.statistics())
    wanted = f"{PACKETS} packets each way"
    return "\n\n".join(explanation(each, figures, wanted) for each in calls) or figures
