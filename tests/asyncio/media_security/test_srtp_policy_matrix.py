"""Policy by profile by keys: each cell of docs/reference/srtp-policy.md with a sniffing peer."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from callmeter.config import MediaConfig, SrtpConfig, SrtpMethod, SrtpPolicy
from callmeter.errors import CallmeterError

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "srtp-policy.md"
PATIENCE = 60
HEARD = 3
SUITES = "AES_CM_128_HMAC_SHA1_80 AES_CM_128_HMAC_SHA1_32 AEAD_AES_128_GCM"
PROFILES = [
    "RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF",
]  # fmt: skip
KEYS = ["none", "crypto", "fingerprint", "both", "broken", "unsupported"]
POLICIES = [SrtpPolicy.DISABLED, SrtpPolicy.OFFERED, SrtpPolicy.REQUIRED]
ROLES = ["answering", "offering"]
SECURE = {"sdes", "dtls"}
PLAIN = {"plain", "plain, warned"}


def tables():
    """The tables of the page: by policy and role, then by profile and keys."""
    found = {}
    for part in re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        policy, role = part.split("\n", 1)[0].split(", ")
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in part.splitlines()
            if line.startswith("|")
        ]
        assert rows[0] == ["m= line", *KEYS]
        found[policy, role] = {
            (profile, keys): cell
            for profile, *cells in rows[2:]
            for keys, cell in zip(KEYS, cells, strict=True)
        }
    return found


EXPECTED = tables()


def test_the_page_has_every_row_of_the_matrix():
    assert set(EXPECTED) == {(policy.name, role) for policy in POLICIES for role in ROLES}
    for cells in EXPECTED.values():
        assert list(cells) == [(profile, keys) for profile in PROFILES for keys in KEYS]


def test_the_page_never_lets_required_be_plain():
    for role in ROLES:
        assert not PLAIN & set(EXPECTED["REQUIRED", role].values())


def key_lines(peer, keys, setup, tag=1):
    """The attributes of a column."""
    fingerprint = [f"a=fingerprint:{peer.certificate.fingerprint()}", f"a=setup:{setup}"]
    return {
        "none": [],
        "crypto": [peer.crypto(tag)],
        "fingerprint": fingerprint,
        "both": [peer.crypto(tag), *fingerprint],
        "broken": [
            f"a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:c2hvcnQ=",
            "a=fingerprint:sha-256 AB:CD:EF",
            f"a=setup:{setup}",
        ],
        "unsupported": [
            f"a=crypto:{tag} F8_128_HMAC_SHA1_80 inline:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNk",
            f"a=fingerprint:{peer.certificate.fingerprint('sha-1')}",
            f"a=setup:{setup}",
        ],
    }[keys]


class Row:
    """One cell: a call between an endpoint and a sniffing peer.

    Attributes:
        error: What the end under test raised, or None.
        report: Its report.
        warning: The Warning header of a refusal.
    """

    def __init__(self, peer, endpoint, profile, keys, *, mux):
        self.peer, self.endpoint = peer, endpoint
        self.profile, self.keys = profile, keys
        self.mux = ["a=rtcp-mux"] * mux
        self.error = None
        self.report = None
        self.warning = None

    async def heard(self):
        """Both directions have media: packets here, and what the peer sends at that end."""
        async with asyncio.timeout(PATIENCE):
            while len(self.peer.rtp.of_kind("rtp")) < HEARD:
                self.peer.send_media()
                await asyncio.sleep(0.02)

    async def goodbye(self):
        """The last RTCP: it leaves when the stream stops."""
        async with asyncio.timeout(PATIENCE):
            ports = (self.peer.rtp, self.peer.rtcp)
            while not any(port.of_kind("rtcp") for port in ports):  # noqa: ASYNC110  no event
                await asyncio.sleep(0.01)

    async def answering(self, then=None):
        """The peer offers; `then` is what it offers again in the call."""
        peer = self.peer
        offer = peer.describe(self.profile, *self.mux, *key_lines(peer, self.keys, "active"))
        peer.request("INVITE", self.endpoint, offer)
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(self._answer())
            response = await peer.final()
            peer.request("ACK", self.endpoint)
            if response.status >= 300:
                await answering
                self.warning = response.headers.get("Warning")
                return
            self.key(role="client")
            serving = tasks.create_task(peer.serve())
            incoming = await answering
            if incoming is not None:
                await self.heard()
                if then is not None:
                    serving.cancel()
                    await self.again(*then)
                    serving = tasks.create_task(peer.serve())
                peer.request("BYE", self.endpoint)
                await incoming.ended()
                self.report = incoming.report().to_dict()
                await self.goodbye()
            serving.cancel()

    async def again(self, *lines):
        """A re-INVITE with this description, and packets after it."""
        peer = self.peer
        peer.request("INVITE", self.endpoint, peer.describe(*lines))
        await peer.final()
        peer.request("ACK", self.endpoint)
        peer.rtp.forget()
        await self.heard()

    async def _answer(self):
        incoming = await self.endpoint.next_call(PATIENCE)
        try:
            await incoming.answer()
        except CallmeterError as error:
            self.error = error
            await incoming.ended()
            self.report = incoming.report().to_dict()
            return None
        return incoming

    async def offering(self):
        """The endpoint offers."""
        peer = self.peer
        async with asyncio.TaskGroup() as tasks:
            calling = tasks.create_task(self._call())
            invite = await peer.invited()
            tag = peer.theirs.tags.get("AES_CM_128_HMAC_SHA1_80", 1)
            lines = key_lines(peer, self.keys, "passive", tag)
            self.key(role="server")
            if self.keys in {"none", "broken", "unsupported"}:
                peer.send_media(5)  # who sends in clear must not be answered in clear
            peer.respond(invite, 200, peer.describe(self.profile, *self.mux, *lines))
            serving = tasks.create_task(peer.serve())
            await calling
            serving.cancel()

    async def _call(self):
        call = await self.endpoint.invite(self.peer.uri)
        try:
            await call.answered(timeout=PATIENCE)
        except CallmeterError as error:
            self.error = error
        else:
            await self.heard()
            await call.bye()
        await call.ended()
        self.report = call.report().to_dict()
        if self.error is None:
            await self.goodbye()

    def key(self, *, role):
        """Do what the keys of both descriptions lead to, seen from the peer."""
        peer = self.peer
        if self.keys in {"crypto", "both"} and peer.theirs.inline:
            peer.use_sdes()
        if self.keys in {"fingerprint", "both", "unsupported"} and peer.theirs.fingerprints:
            ports = [peer.rtp] if self.mux else [peer.rtp, peer.rtcp]
            for port in ports:
                port.begin_dtls(peer.certificate, role)

    def outcome(self):
        """In the words of the page."""
        if self.error is not None:
            how = "488" if self.peer.status == 488 else "BYE"
            assert how == "BYE" or self.says_why()
            return f"{how} {type(self.error).__name__}"
        (stream,) = self.report["media"]
        if stream["keying"] != "none":
            assert self.report["outcome"] == "SUCCESS"
            assert stream["suite"] == "AES_CM_128_HMAC_SHA1_80"
            assert stream["receive"]["srtp_decrypt_failures"] == 0
            return stream["keying"]
        return {"SUCCESS": "plain", "COMPLETED_WITH_WARNINGS": "plain, warned"}[
            self.report["outcome"]
        ]

    def says_why(self):
        """Whether the 488 names what is wrong: the profile, or the suites that would do."""
        named = {"ProfileMismatch": self.profile}.get(type(self.error).__name__, SUITES)
        return named in self.warning

    def sniffed(self):
        """What was on the wire: "nothing", "secure", "plain", or what should not be."""
        self.peer.drain()
        media = self.peer.media()
        if not media:
            return "nothing"
        authentic = [keys is not None and keys.authenticates(datagram) for datagram, keys in media]
        if all(authentic):
            return "secure"
        return "mixed" if any(authentic) else "plain"


def on_the_wire(cell):
    if cell in SECURE:
        return "secure"
    return "plain" if cell in PLAIN else "nothing"


async def run_all(rows, role, stack):
    """Make all calls at once, until each has ended and its sockets are closed."""
    async with asyncio.TaskGroup() as calls:
        for row in rows.values():
            calls.create_task(getattr(row, role)())
    async with asyncio.timeout(PATIENCE):
        while stack.media.streams:  # noqa: ASYNC110  there is no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("mux", [True, False], ids=["mux", "two ports"])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
async def test_every_row_ends_as_the_page_says(make_peer, make_endpoint, stack, policy, role, mux):
    media = MediaConfig(srtp=SrtpConfig(method=SrtpMethod.DUAL, policy=policy), rtcp_mux=mux)
    rows = {}
    for number, (profile, keys) in enumerate(EXPECTED[policy.name, role]):
        endpoint = await make_endpoint(f"row{number}", media=media)
        rows[profile, keys] = Row(make_peer(), endpoint, profile, keys, mux=mux)
    await run_all(rows, role, stack)
    seen = {at: (row.outcome(), row.sniffed()) for at, row in rows.items()}
    wanted = {at: (cell, on_the_wire(cell)) for at, cell in EXPECTED[policy.name, role].items()}
    assert seen == wanted
    octets = sum(len(datagram) for row in rows.values() for datagram, _ in row.peer.media())
    print(
        f"{policy.name}, {role}, {'one port' if mux else 'two ports'}: {len(seen)} rows as"
        f" expected; {octets} octets of media sniffed,"
        f" {sum(at[1] == 'plain' for at in seen.values())} rows in clear"
    )


@pytest.mark.parametrize("method", [SrtpMethod.SDES, SrtpMethod.DTLS])
@pytest.mark.parametrize("role", ROLES)
async def test_required_is_never_plain_by_the_other_methods_either(
    make_peer, make_endpoint, stack, role, method
):
    media = MediaConfig(srtp=SrtpConfig(method=method, policy=SrtpPolicy.REQUIRED), rtcp_mux=True)
    rows = {}
    for number, (profile, keys) in enumerate(EXPECTED["REQUIRED", role]):
        endpoint = await make_endpoint(f"row{number}", media=media)
        rows[profile, keys] = Row(make_peer(), endpoint, profile, keys, mux=True)
    await run_all(rows, role, stack)
    own = "sdes" if method is SrtpMethod.SDES else "dtls"
    for (profile, keys), row in rows.items():
        keyed = keys in {"both", "crypto" if own == "sdes" else "fingerprint"}
        outcome = row.outcome()
        assert outcome == own if keyed else outcome.startswith(("488", "BYE")), (profile, keys)
        assert row.sniffed() == ("secure" if keyed else "nothing"), (profile, keys)


@pytest.mark.parametrize("keys", ["crypto", "fingerprint"])
@pytest.mark.parametrize("policy", [SrtpPolicy.OFFERED, SrtpPolicy.REQUIRED])
async def test_a_reinvite_without_keys_never_makes_a_secure_call_plain(
    make_peer, make_endpoint, stack, policy, keys
):
    media = MediaConfig(srtp=SrtpConfig(method=SrtpMethod.DUAL, policy=policy), rtcp_mux=True)
    endpoint = await make_endpoint("bob", media=media)
    peer = make_peer()
    row = Row(peer, endpoint, "RTP/AVP", keys, mux=True)
    await row.answering(then=("RTP/AVP", "a=rtcp-mux"))
    await run_all({}, "answering", stack)
    assert row.outcome() == ("sdes" if keys == "crypto" else "dtls")
    assert peer.status == 488
    assert row.sniffed() == "secure"
