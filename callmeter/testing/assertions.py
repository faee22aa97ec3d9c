"""Assertions about a call; each says what it found, what the diagnosis is, and who said what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NoReturn

from callmeter.config import SrtpPolicy, SrtpSuite
from callmeter.errors import ConfigurationError
from callmeter.metrics.quality import Speech, mos_of, r_factor_of
from callmeter.metrics.report import FindingStatus, Keying
from callmeter.setting_words import member
from callmeter.sip.message import Request, Response
from callmeter.testing.ear import Ear
from callmeter.testing.explanation import NOTHING_FOUND, explanation
from callmeter.testing.phones import PhoneMedia

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callmeter.call import Call
    from callmeter.metrics.report import StreamReport
    from callmeter.trace.message_log import LoggedMessage

__all__ = [
    "assert_heard",
    "assert_messages",
    "assert_quality",
    "assert_secure",
    "wait_heard",
]

SECURITY_CHECKS: Final = frozenset(
    {
        "srtp_negotiated",
        "suites_compatible",
        "fingerprint_valid",
        "tag_length",
        "key_intact",
        "plain_for_secure",
        "srtcp_consistent",
        "rekey_followed",
        "roc_consistent",
    }
)
NEEDED: Final = {
    "audio_not_silent": "about two seconds of audio",
    "port_reachable": "a second and a half of media",
}
"""What the checks wait for that find nothing or silence."""
HELD: Final = {
    "sendonly": "the peer sends no audio",
    "recvonly": "this end sends no audio",
    "inactive": "no audio flows",
}
"""What a direction means that is not both ways (RFC 3264 section 5.1)."""
TRYING: Final = 100
LISTEN_AGAIN_S: Final = 0.2
"""All that is remembered is decoded each time; a window of it is twice as long."""


def assert_secure(call: Call, *, suite: SrtpSuite | str | None = None) -> None:
    """Every stream of the call is encrypted, and what arrived could be decrypted.

    Args:
        call: A call that is or was answered.
        suite: The suite that has to be in use.

    Raises:
        AssertionError: It is not.
    """
    __tracebackhide__ = True
    report = call.report()
    if not any(stream.codec for stream in report.media):
        _fail(call, "is not secure: it has no media", "SRTP on every stream")
    for stream in report.media:
        if stream.keying is Keying.NONE:
            found = f"{stream.kind} runs in the clear, by plain {stream.profile}"
            _fail(call, f"is not secure: {found}", "SRTP on every stream", *_why_clear(call))
        failed = stream.receive.get("srtp_decrypt_failures") or 0
        if failed and not stream.receive.get("packets_received"):
            _fail(
                call,
                f"is not secure: none of {failed} packets could be decrypted",
                f"{stream.kind} that {stream.suite} opens",
            )
        if suite is not None and stream.suite != member(SrtpSuite, "suite", suite):
            _fail(call, f"uses the suite {stream.suite}", f"the suite {suite}")
    bad = [
        finding
        for finding in report.diagnosis
        if finding.status is FindingStatus.FAIL
        and finding.check.removeprefix("video_") in SECURITY_CHECKS
    ]
    if bad:
        _fail(call, f"is not secure: {bad[0].detail}", f"the check {bad[0].check} to pass")


def assert_quality(
    call: Call,
    *,
    mos: float | None = None,
    jitter_ms: float | None = None,
    loss: float | None = None,
    rtt_ms: float | None = None,
) -> None:
    """What the call received so far is good enough.

    Args:
        call: A call that is or was answered.
        mos: The least mean opinion score, 1 to 4.5, by the E-model (ITU-T G.107).
        jitter_ms: The most interarrival jitter (RFC 3550 section 6.4.1).
        loss: The largest share of packets lost, 0 to 1.
        rtt_ms: The longest round trip by RTCP; a call too short for a report has none, and fails.

    Raises:
        AssertionError: It is not, or nothing was received.
        ConfigurationError: A loss that is no share.
    """
    __tracebackhide__ = True
    if loss is not None and not 0 <= loss <= 1:
        raise ConfigurationError(f"loss is a share from 0 to 1, not {loss:g}")
    report = call.report()
    streams = [each for each in report.media if each.receive.get("packets_received")]
    if not streams:
        _fail(call, "received no media", "media to judge")
    for stream in streams:
        share = _number(stream, "fraction_lost")
        # The E-model is of speech.
        score = mos if stream.kind == "audio" else None
        checks = (
            ("MOS", _mos(call, stream), score, 1, ".2f", ""),
            ("jitter", _number(stream, "jitter_ms"), jitter_ms, -1, ".1f", " ms"),
            ("loss", None if share is None else share / 100, loss, -1, ".2%", ""),
            ("round trip", _number(stream, "rtt_ms"), rtt_ms, -1, ".1f", " ms"),
        )
        broken = [
            (
                name,
                _shown(value, form, unit),
                "at least" if sign > 0 else "at most",
                _limit(limit, form, unit),
            )
            for name, value, limit, sign, form, unit in checks
            if limit is not None and (value is None or sign * value < sign * limit)
        ]
        if broken:
            found = ", ".join(f"{name} is {shown}" for name, shown, *_ in broken)
            wanted = ", ".join(f"{name} {word} {limit}" for name, _, word, limit in broken)
            _fail(call, f"is not good enough: {found}", wanted)


def assert_heard(call: Call | Ear, *, tone: float | None = None, tolerance_hz: float = 10) -> None:
    """In the last half minute the call has received a tone, or anything but silence.

    Args:
        call: A call of the fixture `endpoint`; for another, an `Ear` that was attached to it by
            `call.media.attach(ear)`.
        tone: The frequency in Hz that has to be the strongest for a while; None takes any sound.
        tolerance_hz: How far it may be off.

    Raises:
        AssertionError: It has not.
        ConfigurationError: Nobody listened to this call.
    """
    __tracebackhide__ = True
    ear, about = _ear_of(call)
    wanted = "any sound" if tone is None else f"{tone:g} Hz, {tolerance_hz:g} Hz more or less"
    held = _why_held(about)
    if not ear.packets:
        found = "heard nothing: no packet of audio arrived"
        # Nobody misses what a hold keeps away.
        unjudged = NOTHING_FOUND if held else _unjudged(about, "port_reachable")
        _fail(about, found, wanted, *held, nothing_found=unjudged)
    sounds = [sound for sound in ear.sounds() if sound.audible]
    if not sounds:
        found = f"heard only silence, for {ear.seconds:.2f} s"
        _fail(about, found, wanted, *held, nothing_found=_unjudged(about, "audio_not_silent"))
    if tone is None:
        return
    if not any(abs(sound.frequency_hz - tone) <= tolerance_hz for sound in sounds):
        nearest = min(sounds, key=lambda sound: abs(sound.frequency_hz - tone))
        _fail(about, f"did not hear the tone: the nearest was {nearest}", wanted, *held)


async def wait_heard(
    call: Call | Ear, *, tone: float | None = None, within: float = 10, tolerance_hz: float = 10
) -> None:
    """Wait until `assert_heard` holds: the peer may take its time, and so may a busy machine.

    Args:
        call: As for `assert_heard`.
        tone: As for `assert_heard`.
        within: Seconds it may take.
        tolerance_hz: How far the tone may be off.

    Raises:
        AssertionError: It did not come in this time.
        ConfigurationError: Nobody listens to this call.
    """
    __tracebackhide__ = True
    ear, _ = _ear_of(call)
    loop = asyncio.get_running_loop()
    end, packets = loop.time() + within, -1
    while loop.time() < end:
        if ear.packets != packets:
            packets = ear.packets
            try:
                assert_heard(call, tone=tone, tolerance_hz=tolerance_hz)
            except AssertionError:
                pass
            else:
                return
        await asyncio.sleep(LISTEN_AGAIN_S)
    assert_heard(call, tone=tone, tolerance_hz=tolerance_hz)


def assert_messages(call: Call, *expected: str | int, exact: bool = False) -> None:
    """The call's SIP messages came in this order, as its own end saw them.

    Other messages may stand between them unless `exact`. Retransmissions count once. A server
    sends 100 only when it is slow (RFC 3261 section 17.2.1): an expected 100 may be missing.

    Args:
        call: Any call.
        expected: Methods (`"INVITE"`), statuses (`200`), classes of them (`"1xx"`); a status
            belongs to the request that stands before it.
        exact: Whether there may be no others.

    Raises:
        AssertionError: They did not; the first that is missing is named.
    """
    __tracebackhide__ = True
    seen = _told(call.messages)
    place = 0
    for item in expected:
        found = next((at for at in range(place, len(seen)) if _is(seen[at], item)), None)
        if exact and found is not None and found != place:
            found = None
        if found is None:
            if item == TRYING:
                continue
            after = f" after {seen[place - 1]}" if place else ""
            came = f"{after} came {seen[place]}" if place < len(seen) else f"{after} came nothing"
            _fail(
                call,
                f"has no {item} where it is expected:{came}",
                ", ".join(map(str, expected)),
                ("seen", ", ".join(seen) or "no message"),
            )
        place = found + 1
    if exact and place < len(seen):
        _fail(
            call,
            f"went on with {seen[place]}",
            ", ".join(map(str, expected)),
            ("seen", ", ".join(seen)),
        )


def _told(messages: Iterable[LoggedMessage]) -> list[str]:
    """Methods and statuses in order, retransmissions left out."""
    told: list[str] = []
    known: set[bytes] = set()
    for entry in messages:
        if entry.raw in known:
            continue
        known.add(entry.raw)
        message = entry.message
        if isinstance(message, Request):
            told.append(message.method)
        elif isinstance(message, Response):
            told.append(str(message.status))
    return told


def _is(seen: str, expected: str | int) -> bool:
    word = str(expected).upper()
    if word.endswith("XX"):
        return seen.isdigit() and seen[0] == word[0]
    return seen == word


def _ear_of(call: Call | Ear) -> tuple[Ear, Call | None]:
    if isinstance(call, Ear):
        return call, None
    if isinstance(call.media, PhoneMedia):
        return call.media.ear, call
    raise ConfigurationError(
        "nobody listened to this call: make its endpoint by the fixture `endpoint`, or attach an "
        "Ear to it with call.media.attach(ear) and ask that"
    )


def _why_clear(call: Call) -> list[tuple[str, str]]:
    policy = call.media.config.srtp.policy
    if policy is not SrtpPolicy.DISABLED:
        return []
    return [("because", "this end offers and takes no keys: its SRTP policy is DISABLED")]


def _why_held(call: Call | None) -> list[tuple[str, str]]:
    """What the direction of media has to do with what is heard."""
    if call is None or not call.media.on_hold:
        return []
    direction = call.media.direction
    return [("on hold", f"the direction of media is {direction}: {HELD[direction]}")]


def _unjudged(call: Call | None, check: str) -> str:
    """What to say of a diagnosis without a bad finding, where the check that asks may be early."""
    if call is None:
        return NOTHING_FOUND
    finding = next((each for each in call.diagnosis() if each.check == check), None)
    if finding is None or finding.status is not FindingStatus.SKIP:
        return NOTHING_FOUND
    return f"nothing yet: {check} was skipped ({finding.detail}), it needs {NEEDED[check]}"


def _number(stream: StreamReport, key: str) -> float | None:
    value = stream.receive.get(key)
    return float(value) if isinstance(value, int | float) else None


def _mos(call: Call, stream: StreamReport) -> float | None:
    """The score in the report; of a call too short for one, by what was measured so far."""
    score = _number(stream, "mos")
    speech = Speech.of(stream.codec, call.media.ptime_ms)
    loss, jitter = _number(stream, "fraction_lost"), _number(stream, "jitter_ms")
    if score is not None or speech is None or loss is None or jitter is None:
        return score
    rtt = _number(stream, "rtt_ms")
    return mos_of(r_factor_of(speech, loss_percent=loss, jitter_ms=jitter, rtt_ms=rtt))


def _shown(value: float | None, form: str, unit: str) -> str:
    return "not known" if value is None else f"{value:{form}}{unit}"


def _limit(limit: float, form: str, unit: str) -> str:
    return f"{100 * limit:g}%" if "%" in form else f"{limit:g}{unit}"


def _fail(
    call: Call | None,
    found: str,
    expected: str,
    *more: tuple[str, str],
    nothing_found: str = NOTHING_FOUND,
) -> NoReturn:
    __tracebackhide__ = True
    if call is not None and isinstance(call.media, PhoneMedia):
        call.media.phone.phones.told.add(call.call_id)
    raise AssertionError(explanation(call, found, expected, *more, nothing_found=nothing_found))
