"""Calls with an endpoint that does one thing wrong: the diagnosis names that, and nothing else.

The table in docs/reference/misbehaviour.md is what these tests see. After a change of the
diagnosis write it anew: `CALLMETER_WRITE_TABLES=1 pytest tests/asyncio/test_misbehaviour.py`.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from callmeter.call import USUAL_HANDSHAKE
from callmeter.config import (
    EndpointConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    SrtpSuite,
)
from callmeter.errors import CallmeterError
from callmeter.media.sources import Tone
from callmeter.metrics.report import FindingStatus
from callmeter.testing.explanation import explanation
from callmeter.testing.misbehaviour import MisbehavingEndpoint, Misbehaviour

PATIENCE = 20
LOOPBACK = "127.0.0.1"
MEDIA_S = 2.0
HASTY_S = 2.5
PATIENT_S = USUAL_HANDSHAKE + 0.5
"""How long the caller waits for a handshake that never ends. The honest end waits no longer than it
has to; the other one hangs up after the time that a good one takes, or it would merely be rude."""
PACKETS_PER_S = 50
HELD_UP_S = 0.1
CALM_S = 0.5
BAD = {FindingStatus.WARN, FindingStatus.FAIL}
WRITES = os.environ.get("CALLMETER_WRITE_TABLES") == "1"
TABLE = Path(__file__).parents[2] / "docs" / "reference" / "misbehaviour.md"
PROMPT = {
    Misbehaviour.OTHER_TAG_LENGTH,
    Misbehaviour.ALTERED_KEY,
    Misbehaviour.PLAIN_MEDIA,
    Misbehaviour.OTHER_SRTCP_ENCRYPTION,
    Misbehaviour.IGNORED_REKEY,
}
"""What has to be named within two seconds of media."""


def secure(*suites, method=SrtpMethod.SDES, **settings):
    suites = suites or (SrtpSuite.AES_CM_128_HMAC_SHA1_80,)
    return MediaConfig(
        srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED, method=method, suites=suites, **settings)
    )


SDES = secure()
SHORT_TAGS = secure(SrtpSuite.AES_CM_128_HMAC_SHA1_32)
CLEAR_RTCP = secure(unencrypted_srtcp=True)
GCM = secure(SrtpSuite.AEAD_AES_128_GCM)
AES_256 = secure(SrtpSuite.AES_256_CM_HMAC_SHA1_80)
DTLS = secure(method=SrtpMethod.DTLS)
PLAIN = MediaConfig()
BOTH = ("callee", "caller")
MARK = "<!-- written by tests/asyncio/test_misbehaviour.py -->"
COLUMNS = 6


@dataclass(frozen=True)
class Case:
    """One misbehaviour and what the other end has to say of it."""

    kind: Misbehaviour
    finding: str
    status: str = "fail"
    media: MediaConfig = SDES
    name: str = "SDES"
    roles: tuple[str, ...] = BOTH
    unkeyed: bool = False
    reinvite: str = ""
    amount: float | None = None
    refused: bool = False


K = Misbehaviour
CASES = (
    Case(K.WRONG_FINGERPRINT, "fingerprint_valid", media=DTLS, name="DTLS", refused=True),
    Case(K.MISSING_FINGERPRINT, "srtp_negotiated", media=DTLS, name="DTLS", refused=True),
    Case(K.ALTERED_KEY, "key_intact"),
    Case(K.TRUNCATED_KEY, "key_intact", refused=True),
    Case(K.UNPADDED_KEY, "", "", media=GCM, name="SDES, GCM"),
    Case(K.MISSPELT_SUITE, "suites_compatible", "warn", media=AES_256, name="SDES, AES-256"),
    Case(K.WRONG_PROFILE, "profile_right", "warn"),
    Case(K.CONTENT_LENGTH, "key_intact", refused=True),
    Case(K.LARGE_MESSAGES, "message_fits_udp", "warn"),
    Case(K.LATE_ANSWER, "keys_in_time", "warn", roles=("callee",)),
    Case(
        K.BOTH_ACTIVE,
        "dtls_roles",
        media=DTLS,
        name="DTLS",
        roles=("callee",),
        unkeyed=True,
        refused=True,
    ),
    Case(
        K.BOTH_PASSIVE,
        "dtls_reachable",
        media=DTLS,
        name="DTLS",
        unkeyed=True,
        refused=True,
    ),
    *(
        Case(
            K.DROPPED_FLIGHT,
            "dtls_reachable",
            media=DTLS,
            name="DTLS",
            unkeyed=True,
            refused=True,
            amount=number,
        )
        for number in (1, 2)
    ),
    Case(K.LATE_HANDSHAKE, "keys_in_time", "warn", media=DTLS, name="DTLS"),
    Case(K.OTHER_TAG_LENGTH, "tag_length", name="SDES, tags of 80 bits"),
    Case(K.OTHER_TAG_LENGTH, "tag_length", media=SHORT_TAGS, name="SDES, tags of 32 bits"),
    Case(K.PLAIN_MEDIA, "plain_for_secure"),
    Case(K.PLAIN_MEDIA, "plain_for_secure", media=DTLS, name="DTLS"),
    Case(K.SECURE_MEDIA, "secure_for_plain", media=PLAIN, name="plain"),
    Case(K.CLEAR_SRTCP, "srtcp_consistent"),
    Case(K.OTHER_SRTCP_ENCRYPTION, "srtcp_consistent"),
    Case(
        K.OTHER_SRTCP_ENCRYPTION,
        "srtcp_consistent",
        media=CLEAR_RTCP,
        name="SDES, UNENCRYPTED_SRTCP",
    ),
    Case(
        K.SHORT_SRTCP_TAGS,
        "srtcp_consistent",
        "warn",
        media=SHORT_TAGS,
        name="SDES, tags of 32 bits",
    ),
    Case(K.IGNORED_REKEY, "rekey_followed", name="SDES, held and resumed", reinvite="hold"),
    Case(K.IGNORED_REKEY, "rekey_followed", name="SDES, rekeyed by the other", reinvite="rekey"),
    Case(K.RESET_ROC, "roc_consistent"),
    Case(K.KEPT_ROC, "roc_consistent"),
    Case(K.UNANNOUNCED_MKI, "mki_agreed"),
    Case(K.UNANNOUNCED_MKI, "mki_agreed", media=GCM, name="SDES, GCM"),
    Case(K.MISSING_MKI, "mki_agreed"),
    Case(K.EXPIRED_LIFETIME, "lifetime_kept", "warn"),
    Case(K.ONE_WAY, "media_both_ways", media=PLAIN, name="plain"),
    Case(K.ONE_WAY, "media_both_ways"),
    Case(K.SENDS_NOTHING, "port_reachable", media=PLAIN, name="plain"),
    Case(K.SILENT_AUDIO, "audio_not_silent", media=PLAIN, name="plain"),
    Case(K.SILENT_AUDIO, "audio_not_silent"),
)
PARAMETERS = [
    pytest.param(
        case, role, id=f"{case.kind}{case.amount or ''}-{case.name}-{role}".replace(" ", "_")
    )
    for case in CASES
    for role in case.roles
]


@dataclass
class Seen:
    """What the other end said."""

    transient: set[str] = field(default_factory=set)
    findings: tuple = ()
    error: str = ""
    packets: int | None = None

    @property
    def bad(self):
        return {one.check: one.status.value for one in self.findings if one.status in BAD}


def bad(call):
    return {one.check: one.status.value for one in call.diagnosis() if one.status in BAD}


def packets_of(call):
    statistics = call.media.statistics()
    return statistics.receive.packets_received + sum(statistics.dropped.values())


@pytest.fixture
def mallory_of(entered, stack):
    async def make(case):
        config = EndpointConfig(f"sip:mallory@{LOOPBACK}", media=case.media)
        return await entered.enter_async_context(
            MisbehavingEndpoint(config, case.kind, stack, amount=case.amount)
        )

    return make


async def watch(call, case, seen, standstill):
    """Look at the diagnosis until it says what is expected, and note all it says on the way.

    Just after the machine stood still the packets of that time have not been sent or read yet.
    """
    expected = {case.finding: case.status} if case.finding else {}
    loop = asyncio.get_running_loop()
    settled = loop.time() + 1.5
    lost, calm = standstill.seconds, 0.0
    try:
        async with asyncio.timeout(PATIENCE):
            while bad(call) != expected or (not expected and loop.time() < settled):
                if standstill.seconds > lost + HELD_UP_S:
                    lost, calm = standstill.seconds, loop.time() + CALM_S
                if loop.time() >= calm:
                    seen.transient.update(bad(call))
                await asyncio.sleep(0.02)
    except TimeoutError:
        told = explanation(call, f"is diagnosed with {bad(call)}", str(expected))
        raise AssertionError(f"not in {PATIENCE} s: {told}") from None
    seen.packets = packets_of(call)


async def heard(call):
    try:
        async with asyncio.timeout(PATIENCE):
            while packets_of(call) < 10:  # noqa: ASYNC110  there is no event
                await asyncio.sleep(0.02)
    except TimeoutError:
        told = explanation(call, f"brought {packets_of(call)} packets", "10")
        raise AssertionError(f"not in {PATIENCE} s: {told}") from None


async def converse(tasks, call, other, case, seen, standstill):
    """Both ends speak; the honest one looks."""
    playing = [tasks.create_task(each.media.play(Tone(440))) for each in (call, other)]
    before = 0
    if case.reinvite:
        await heard(call)
        if case.reinvite == "hold":
            await other.hold()
            await other.resume()
        else:
            await call.rekey()
        before = packets_of(call)
    await watch(call, case, seen, standstill)
    seen.packets -= before
    for task in playing:
        task.cancel()


async def call_mallory(alice, mallory, case, seen, standstill):
    answered = asyncio.get_running_loop().create_future()

    async def answer():
        try:
            answered.set_result(await (await mallory.next_call(PATIENCE)).answer())
        except CallmeterError as error:
            answered.set_exception(error)
            answered.exception()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer())
        call = await alice.invite(str(mallory.contact))
        try:
            async with call:
                await call.answered(HASTY_S if case.unkeyed else PATIENCE)
                await converse(tasks, call, await answered, case, seen, standstill)
        except CallmeterError as error:
            seen.error = type(error).__name__
        seen.findings = call.report().diagnosis


async def called_by_mallory(alice, mallory, case, seen, standstill):
    async def place():
        try:
            call = await mallory.invite(str(alice.contact))
            async with call:
                await call.answered(PATIENT_S if case.unkeyed else PATIENCE)
                placed.set_result(call)
                await call.ended()
        except CallmeterError as error:
            if not placed.done():
                placed.set_exception(error)
                placed.exception()

    placed = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(place())
        call = await alice.next_call(PATIENCE)
        try:
            async with call:
                await call.answer()
                await converse(tasks, call, await placed, case, seen, standstill)
        except CallmeterError as error:
            seen.error = type(error).__name__
        seen.findings = call.report().diagnosis


@pytest.fixture(scope="session")
def table():
    rows = {}
    yield rows
    if WRITES and len(rows) == len(PARAMETERS):
        write_table(rows)


def row_of(case, role, seen):
    found = [one for one in seen.findings if one.status in BAD]
    cells = [f"`{one.check}`: {one.status.value}" for one in found] or ["nothing: it is accepted"]
    error = f"`{seen.error}`" if seen.error else "the call goes on"
    does = case.kind.does.replace("`amount`", f"{abs(case.amount or case.kind.amount):g}")
    return f"| `{case.kind.name}` | {does} | {case.name} | {role} | {'; '.join(cells)} | {error} |"


def write_table(rows):
    """Both roles in one row where they come to the same."""
    head, _, _ = TABLE.read_text(encoding="utf-8").partition(MARK)
    lines = [
        MARK,
        "",
        "| Misbehaviour | It | Keys | As | The other end finds | and |",
        "|---|---|---|---|---|---|",
    ]
    for case in CASES:
        seen = {role: rows[case, role] for role in case.roles}
        either = {row_of(case, "either", each) for each in seen.values()}
        if len(seen) > 1 and len(either) == 1:
            lines += either
        else:
            lines += [row_of(case, role, each) for role, each in seen.items()]
    TABLE.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(("case", "role"), PARAMETERS)
async def test_each_misbehaviour_has_its_own_finding_and_no_other(
    case, role, make_endpoint, mallory_of, table, standstill
):
    alice = await make_endpoint("alice", media=case.media)
    mallory = await mallory_of(case)
    seen = Seen()
    meet = call_mallory if role == "callee" else called_by_mallory
    await meet(alice, mallory, case, seen, standstill)
    assert seen.bad == ({case.finding: case.status} if case.finding else {}), seen.findings
    assert seen.transient <= {case.finding}
    assert mallory.done
    assert bool(seen.error) == case.refused
    if case.kind in PROMPT:
        assert seen.packets <= MEDIA_S * PACKETS_PER_S
    table[case, role] = seen
    rows = TABLE.read_text(encoding="utf-8").splitlines()
    assert WRITES or {row_of(case, role, seen), row_of(case, "either", seen)} & set(rows)


def test_the_table_has_rows_for_all_these_calls_and_no_others():
    rows = [line.split(" | ") for line in TABLE.read_text(encoding="utf-8").splitlines()]
    found = [
        (row[0].strip("|` "), row[2], role)
        for row in rows
        if len(row) == COLUMNS and row[0].startswith("| `")
        for role in (BOTH if row[3] == "either" else (row[3],))
    ]
    calls = [(case.kind.name, case.name, role) for case in CASES for role in case.roles]
    assert {case.kind for case in CASES} == set(Misbehaviour)
    assert WRITES or sorted(found) == sorted(calls)
