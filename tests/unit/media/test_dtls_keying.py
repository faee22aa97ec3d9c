"""The DTLS associations of one stream, with and without a port for RTCP."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime

import pytest

from callmeter.config import DEFAULT_SUITES
from callmeter.errors import DtlsTimeout, NegotiationError
from callmeter.media.dtls_keying import DtlsKeying
from callmeter.rtp.demux import PacketKind
from callmeter.sdp.attributes import Setup
from callmeter.srtp.dtls_certificate import DtlsCertificate

ACTIVE, PASSIVE, ACTPASS = Setup.ACTIVE, Setup.PASSIVE, Setup.ACTPASS
PORTS = {False: 4000, True: 4001}


class Wire:
    """A stream with two ports, wired to another one."""

    def __init__(self):
        self.controls = {}
        self.peer = None

    def set_control(self, control, *, rtcp):
        self.controls[rtcp] = control

    def send_datagram(self, data, destination, *, rtcp):
        assert destination[1] == PORTS[rtcp]
        control = self.peer.controls.get(rtcp)
        if control is not None:
            source = ("127.0.0.1", PORTS[rtcp])
            asyncio.get_running_loop().call_soon(control, PacketKind.DTLS, data, source)


@pytest.fixture
async def pair():
    wires = Wire(), Wire()
    wires[0].peer, wires[1].peer = wires[1], wires[0]
    told, refused = [], []
    made = [
        DtlsKeying(
            wire,
            DtlsCertificate.generate(datetime.now(tz=UTC)),
            lambda wire=wire: told.append(wire),
            refused.append,
            suites=DEFAULT_SUITES,
            symmetric=True,
            entropy=secrets.token_bytes,
        )
        for wire in wires
    ]
    yield made
    for keying in made:
        keying.close()


def start(pair, *, mux):
    remote, rtcp = ("127.0.0.1", 4000), None if mux else ("127.0.0.1", 4001)
    offerer, answerer = pair
    offerer.start((ACTPASS, ACTIVE), (answerer.fingerprint,), remote, rtcp)
    answerer.start((ACTIVE, ACTPASS), (offerer.fingerprint,), remote, rtcp)


async def keyed(pair, *, mux):
    async with asyncio.timeout(10):
        for keying in pair:
            await keying.wait()
            while not mux and keying.rtcp_contexts is None:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


@pytest.fixture
async def up(pair):
    async def make(*, mux):
        start(pair, mux=mux)
        await keyed(pair, mux=mux)
        return pair

    return make


async def test_without_mux_rtcp_has_keys_of_its_own(up):
    offerer, answerer = await up(mux=False)
    packet = b"\x80\xc9\0\x01\0\0\0\x01"
    protected = offerer.rtcp_contexts[0].protect_rtcp(packet)
    assert answerer.contexts[1].unprotect_rtcp(protected) is None
    assert answerer.rtcp_contexts[1].unprotect_rtcp(protected) == packet


async def test_mux_leaves_rtcp_to_the_keys_of_media(up):
    offerer, _ = await up(mux=True)
    assert offerer.rtcp_contexts is None
    assert offerer.profile.name in set(DEFAULT_SUITES)


@pytest.mark.parametrize("mux", [False, True])
async def test_the_same_peer_again_keeps_associations_and_keys(up, mux):
    pair = await up(mux=mux)
    before = [(keying.contexts, keying.rtcp_contexts) for keying in pair]
    start(pair, mux=mux)
    assert [(keying.contexts, keying.rtcp_contexts) for keying in pair] == before
    assert [keying.rehandshakes for keying in pair] == [0, 0]


@pytest.mark.parametrize("mux", [False, True])
async def test_the_same_peer_again_disturbs_no_handshake_under_way(pair, mux):
    offerer, answerer = pair
    start(pair, mux=mux)
    assert answerer.answer_to(ACTPASS, (offerer.fingerprint,), None) is ACTIVE
    start(pair, mux=mux)
    await keyed(pair, mux=mux)
    for keying in pair:
        assert [one.transport.statistics.discarded for one in keying._sessions()] == [0] * (2 - mux)
    assert [keying.rehandshakes for keying in pair] == [0, 0]


async def test_a_handshake_that_failed_begins_anew_with_the_same_peer(pair):
    start(pair, mux=True)
    pair[0]._media._failure = DtlsTimeout("nobody there")
    start(pair, mux=True)
    await keyed(pair, mux=True)


async def test_mux_agreed_on_later_drops_the_association_of_rtcp(up):
    pair = await up(mux=False)
    start(pair, mux=True)
    assert [keying.rtcp_contexts for keying in pair] == [None, None]


async def test_an_answer_keeps_the_role_towards_the_peer_it_knows(up):
    offerer, answerer = await up(mux=True)
    assert offerer.answer_to(ACTPASS, (answerer.fingerprint,), None) is PASSIVE
    assert answerer.answer_to(ACTPASS, (offerer.fingerprint,), None) is ACTIVE
    assert offerer.answer_to(ACTPASS, (offerer.fingerprint,), None) is ACTIVE
    assert offerer.answer_to(ACTIVE, (answerer.fingerprint,), None) is PASSIVE


async def renewed(pair, *, mux):
    """The offerer asks for a new association, and the answerer agrees."""
    offerer, answerer = pair
    offerer.renew(DtlsCertificate.generate(datetime.now(tz=UTC)))
    role = answerer.answer_to(ACTPASS, (offerer.fingerprint,), offerer.tls_id)
    remote, rtcp = ("127.0.0.1", 4000), None if mux else ("127.0.0.1", 4001)
    answerer.start((role, ACTPASS), (offerer.fingerprint,), remote, rtcp, tls_id=offerer.tls_id)
    assert answerer.renewing
    offerer.start((ACTPASS, role), (answerer.fingerprint,), remote, rtcp, tls_id=answerer.tls_id)
    async with asyncio.timeout(10):
        for keying in pair:
            await keying.renewed()


@pytest.mark.parametrize("mux", [False, True])
async def test_a_new_association_has_new_names_and_keys(up, mux):
    pair = await up(mux=mux)
    before = [(keying.contexts, keying.tls_id) for keying in pair]
    await renewed(pair, mux=mux)
    for keying, (contexts, name) in zip(pair, before, strict=True):
        assert keying.contexts is not contexts
        assert keying.tls_id != name
        assert keying.names_associations
        assert keying.rehandshakes == 1
        assert not keying.renewing


async def test_an_offer_withdrawn_takes_back_its_names(up):
    pair = await up(mux=False)
    before = pair[0].fingerprint, pair[0].tls_id, pair[0].contexts
    pair[0].withdraw()
    for _ in range(2):
        pair[0].renew(DtlsCertificate.generate(datetime.now(tz=UTC)))
    pair[0].withdraw()
    assert (pair[0].fingerprint, pair[0].tls_id, pair[0].contexts) == before
    start(pair, mux=False)
    assert [keying.rehandshakes for keying in pair] == [0, 0]


async def test_a_description_without_a_name_says_nothing_of_the_association(up):
    pair = await up(mux=True)
    await renewed(pair, mux=True)
    offerer, answerer = pair
    assert answerer.answer_to(ACTPASS, (offerer.fingerprint,), None) is ACTIVE
    start(pair, mux=True)
    assert [keying.rehandshakes for keying in pair] == [1, 1]


async def test_another_name_or_role_of_the_peer_asks_for_a_new_association(up):
    pair = await up(mux=True)
    await renewed(pair, mux=True)
    offerer, answerer = pair
    names = [answerer.tls_id]
    assert answerer.answer_to(ACTPASS, (offerer.fingerprint,), "x" * 20) is ACTIVE
    names.append(answerer.tls_id)
    assert answerer.answer_to(ACTIVE, (offerer.fingerprint,), offerer.tls_id) is PASSIVE
    names.append(answerer.tls_id)
    assert len(set(names)) == 3


async def test_roles_that_start_nothing_are_refused(pair):
    with pytest.raises(NegotiationError, match="holdconn"):
        pair[0].start((ACTPASS, Setup.HOLDCONN), (), ("127.0.0.1", 4000), None)
