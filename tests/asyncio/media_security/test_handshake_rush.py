"""Many DTLS calls that begin at once: each turn of the loop has a few steps of them at most."""

from __future__ import annotations

import asyncio

from callmeter.config import DtlsConfig, MediaConfig, SrtpConfig, SrtpMethod, SrtpPolicy
from callmeter.media.dtls_session import DtlsSession
from callmeter.media.handshake_queue import STEPS_PER_TURN

CALLS = 60
PATIENCE = 60
# All of them wait for the last one: none is to be given up before the test is.
HANDSHAKE = DtlsConfig(handshake_timeout=PATIENCE)
MEDIA = MediaConfig(
    srtp=SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED, dtls=HANDSHAKE),
    rtcp_mux=True,
)


class Turns:
    """How many steps of handshakes each turn of the loop had."""

    def __init__(self, monkeypatch):
        self.steps, self.most, self.all = 0, 0, 0
        self._over = False
        real = DtlsSession._on_datagram

        def counted(session, *arguments):
            self.steps += 1
            real(session, *arguments)

        monkeypatch.setattr(DtlsSession, "_on_datagram", counted)
        self._next()

    def _next(self):
        self.most, self.all, self.steps = max(self.most, self.steps), self.all + self.steps, 0
        if not self._over:
            asyncio.get_running_loop().call_soon(self._next)

    def stop(self):
        self._over = True


async def test_a_rush_of_handshakes_is_spread_over_turns_of_the_loop(
    make_endpoint, until, monkeypatch
):
    alice, bob = await make_endpoint("alice", media=MEDIA), await make_endpoint("bob", media=MEDIA)
    turns = Turns(monkeypatch)

    async def answer(incoming):
        await incoming.answer()
        await incoming.ended()

    async with asyncio.TaskGroup() as tasks:
        calls = [await alice.invite(str(bob.contact)) for _ in range(CALLS)]
        for _ in range(CALLS):
            tasks.create_task(answer(await bob.next_call(PATIENCE)))
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(call.answered() for call in calls))
        await until(lambda: not any(call.media.keys_pending for call in bob.calls))
        for call in calls:
            tasks.create_task(call.bye())
    turns.stop()
    print(f"{CALLS} DTLS calls at once: {turns.all} datagrams, at most {turns.most} in one turn")
    assert {call.report().to_dict()["media"][0]["keying"] for call in calls} == {"dtls"}
    assert turns.all >= 4 * CALLS
    # A tick may take its share before the queue takes its own.
    assert turns.most <= 2 * STEPS_PER_TURN
