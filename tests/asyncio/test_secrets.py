"""No log, repr, traceback, report or trace shows a secret: looked for with canaries."""

from __future__ import annotations

import asyncio
import base64
import copy
import gc
import hashlib
import io
import json
import logging
import pickle
import socket
import traceback

import pytest

from callmeter.config import (
    CaptureConfig,
    Credentials,
    EndpointConfig,
    HepConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    StackConfig,
    TlsConfig,
    TlsVerify,
)
from callmeter.endpoint import Endpoint
from callmeter.errors import AuthenticationFailed, CallmeterError, SdpSyntaxError
from callmeter.sdp.parser import parse_description
from callmeter.sdp.remote_track import read_tracks
from callmeter.srtp.sdes import MasterKey
from callmeter.stack import Stack
from callmeter.testing.certificates import Authority
from callmeter.testing.registrar import Registrar
from callmeter.trace.ladder import ladder

LOOPBACK = "127.0.0.1"
PATIENCE = 20
PASSWORD = "canary-Passw0rd-7f3a"
WRONG = "canary-wr0ng-91bc"
REALM = "canaries"
KEY = base64.b64encode(b"canary-key-canary-key-canary-k").decode()


def forms(secret):
    """How octets may be shown."""
    return {base64.b64encode(secret).decode().rstrip("="), secret.hex(), repr(secret)[2:-1]}


def passwords():
    """The passwords, and what digest makes of them (RFC 7616: A1)."""
    found = {PASSWORD, WRONG}
    for password in (PASSWORD, WRONG):
        a1 = f"alice:{REALM}:{password}".encode()
        found |= {hashlib.md5(a1).hexdigest(), hashlib.sha256(a1).hexdigest()}
    return found


def assert_hidden(secrets, shown):
    for name, text in shown.items():
        assert not [len(secret) for secret in secrets if secret in text], f"{name} shows a secret"


def all_reprs():
    """repr of everything of callmeter that is alive; str of a description is its wire text."""
    gc.collect()
    texts = []
    for each in gc.get_objects():
        kind = type(each)
        if str(getattr(kind, "__module__", "")).startswith("callmeter."):
            texts.append(repr(each))
    return "\n".join(texts)


@pytest.fixture
def log():
    """Everything that is logged, of every logger."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield text
    root.removeHandler(handler)
    root.setLevel(before)


@pytest.fixture
def hep():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((LOOPBACK, 0))
        bound.settimeout(0)
        yield bound


def received(bound):
    packets = []
    while True:
        try:
            packets.append(bound.recv(65_535))
        except BlockingIOError:
            return b"".join(packets).decode("latin-1")


@pytest.mark.parametrize("method", [SrtpMethod.SDES, SrtpMethod.DTLS, SrtpMethod.DUAL])
async def test_a_registered_secure_call_shows_none_of_its_secrets(log, hep, tmp_path, method):
    media = MediaConfig(
        srtp=SrtpConfig(method=method, policy=SrtpPolicy.REQUIRED),
        capture=CaptureConfig(),
    )
    shared = StackConfig(bind=LOOPBACK, hep=HepConfig(f"{LOOPBACK}:{hep.getsockname()[1]}"))
    secrets = passwords()
    async with (
        Registrar({"alice": PASSWORD, "bob": "b" * 12}, realm=REALM) as registrar,
        Stack(shared) as stack,
    ):
        alice = EndpointConfig(registrar.aor("alice"), Credentials("alice", PASSWORD), media=media)
        bob = EndpointConfig(f"sip:bob@{LOOPBACK}", media=media)
        async with Endpoint(alice, stack) as calling, Endpoint(bob, stack) as called:

            async def answer():
                incoming = await called.next_call(PATIENCE)
                shown["reprs while it rings"] = all_reprs()
                await incoming.answer()
                return incoming

            shown = {}
            async with calling.registered(), asyncio.TaskGroup() as tasks:
                answering = tasks.create_task(answer())
                async with calling.call(str(called.contact)) as call:
                    incoming = await answering
                    for end in (call, incoming):
                        for line in (end.media.keys.send.line, end.media.keys.receive.line):
                            secrets |= forms(line.keys[0].key_and_salt)
                    shown["reprs"] = all_reprs()
                    await call.hold()
                    shown["reprs on hold"] = all_reprs()
                    await call.resume()
            shown["reprs after the call"] = all_reprs()
            for end, endpoint in ((call, calling), (incoming, called)):
                end.trace(tmp_path / "call.txt")
                end.trace(tmp_path / "call.pcapng")
                endpoint.trace(tmp_path / "all.pcapng", end)
                shown |= {
                    "report": f"{end.report()!r} {end.report()}",
                    "JSON": json.dumps(end.report().to_dict()),
                    "pickled report": pickle.dumps(end.report()).decode("latin-1"),
                    "diagnosis": repr(end.diagnosis()),
                    "messages": f"{endpoint.messages.to_text()} {list(endpoint.messages)!r}",
                    "octets kept": b"".join(e.raw for e in endpoint.messages).decode("latin-1"),
                    "ladder": ladder(endpoint.messages),
                    "text trace": (tmp_path / "call.txt").read_text(),
                    "packet trace": (tmp_path / "call.pcapng").read_bytes().decode("latin-1"),
                    "endpoint trace": (tmp_path / "all.pcapng").read_bytes().decode("latin-1"),
                    "events": repr([event async for event in end.events()]),
                }
    shown |= {"log": log.getvalue(), "HEP": received(hep)}
    assert len(secrets) >= 12
    assert "INVITE sip:" in shown["HEP"]
    assert_hidden(secrets, shown)


async def test_a_refused_password_stands_in_no_traceback(log):
    async with Registrar({"alice": PASSWORD}, realm=REALM) as registrar:
        config = EndpointConfig(registrar.aor("alice"), Credentials("alice", WRONG))
        async with Stack(StackConfig(bind=LOOPBACK)) as stack, Endpoint(config, stack) as alice:
            with pytest.raises(AuthenticationFailed) as caught:
                async with alice.registered():
                    pytest.fail("registered")
            shown = {
                "traceback": "".join(traceback.format_exception(caught.value)),
                "error": f"{caught.value!r} {vars(caught.value)}",
                "copy": repr(copy.copy(caught.value)),
                "reprs": all_reprs(),
                "log": log.getvalue(),
            }
    assert_hidden(passwords(), shown)


def test_settings_show_no_secret():
    authority = Authority()
    leaf = authority.issue(LOOPBACK)
    config = EndpointConfig(
        "sip:alice@example.com",
        Credentials("alice", PASSWORD),
        tls=TlsConfig(
            verify=TlsVerify.CUSTOM,
            ca=authority.pem,
            certificate=leaf.certificate,
            private_key=leaf.private_key,
        ),
    )
    body = [line for line in leaf.private_key.splitlines() if "-----" not in line]
    for shown in (config, config.credentials, config.tls, copy.deepcopy(config)):
        assert_hidden({PASSWORD, *body}, {"repr": repr(shown), "str": str(shown)})
    assert_hidden(forms(b"k3y" * 10), {"key": repr(MasterKey(b"k3y" * 10))})


@pytest.mark.parametrize(
    "line",
    [
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|bad",
        f"a=crypto:x AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"a=crypto:1 {KEY}",
        f"a=crypto: inline:{KEY}",
        f"k=base64:{KEY}",
        f"a=ice-pwd:{KEY}",
    ],
)
def test_a_description_that_is_wrong_shows_no_key(line):
    text = (
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
        f"m=audio 4000 RTP/SAVP 0\r\n{line}\r\n"
    )
    shown = {}
    try:
        description = parse_description(text.encode())
        shown["tracks"] = repr(read_tracks(description))
    except SdpSyntaxError as error:
        shown["error"] = "".join(traceback.format_exception(error)) + repr(vars(error))
    assert_hidden({KEY, KEY[:20]}, shown)


# the watch over the whole suite


def test_a_test_that_shows_a_secret_would_fail(canaries, capsys):
    with canaries.apart() as watched:
        credentials = Credentials("alice", PASSWORD)
        assert watched.leaks() == []
        logging.getLogger("anybody").warning("it is %s", credentials.password)
        (leak,) = watched.leaks()
        assert PASSWORD not in leak
        watched.clear()
        MasterKey(b"canary-key-canary-key-canary-k")
        error = CallmeterError("refused")
        assert watched.leaks() == []
        error.evidence = {"line": f"inline:{KEY}"}
        assert len(watched.leaks()) == 1
        del error
        watched.clear()
        authority = Authority()
        leaf = authority.issue(LOOPBACK)
        TlsConfig(certificate=leaf.certificate, private_key=leaf.private_key)
        print(leaf.private_key)
        assert watched.leaks() == []
        capsys.readouterr()
        assert len(watched.leaks()) == 1
    assert canaries.leaks() == []
