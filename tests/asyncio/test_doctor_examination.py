"""A check-up of endpoints and registrars on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from callmeter import (
    Credentials,
    EndpointConfig,
    LocalProtocolError,
    MediaConfig,
    NegotiationError,
    SrtpConfig,
    SrtpPolicy,
    StackConfig,
    TimerConfig,
    TlsConfig,
    TlsVerify,
    Transport,
)
from callmeter.cli.app import app
from callmeter.doctor import Examination, Keys, examine
from callmeter.testing.certificates import Authority
from callmeter.testing.name_server import NameServer
from callmeter.testing.registrar import Registrar

LOOPBACK = "127.0.0.1"
HASTY = StackConfig(bind=LOOPBACK, timers=TimerConfig(t1=1 / 32, t2=0.1, t4=0.1, ring_timeout=5))
CALLER = EndpointConfig("sip:doctor@127.0.0.1")
OFFERED = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.OFFERED))


@pytest.fixture
def statuses():
    def of(checkup):
        return {finding.check: finding.status.value for finding in checkup.findings}

    return of


@contextlib.asynccontextmanager
async def answering(endpoint):
    """The endpoint answers every call it can and returns what it hears."""

    async def serve(calls):
        async for incoming in endpoint.incoming():
            calls.create_task(attend(incoming))

    async def attend(incoming):
        with contextlib.suppress(NegotiationError):
            call = await incoming.answer()
            call.media.echo()
            await call.ended()

    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve(tasks))
        yield str(endpoint.contact)
        serving.cancel()


async def test_each_kind_of_keys_is_tried(make_endpoint, statuses):
    async with answering(await make_endpoint("bob", media=OFFERED)) as uri:
        checkup = await examine(uri, CALLER, HASTY, seconds=0.4)
    found = statuses(checkup)
    assert found["call none"] == found["call sdes"] == "pass"
    assert (found["connect"], found["tls"], found["register"]) == ("skip", "skip", "skip")
    assert found["options"] == "pass"
    assert set(checkup.reports) == {"call none", "call sdes", "call dtls", "call dual"}


async def test_a_peer_that_takes_sdes_and_refuses_dtls_is_not_told_to_compare_suites(
    make_endpoint, statuses
):
    bob = await make_endpoint("bob", media=OFFERED)

    async def serve():
        async for incoming in bob.incoming():
            if b"UDP/TLS/RTP/SAVP" in incoming.request.body:
                incoming.reject(488)
                continue
            call = await incoming.answer()
            call.media.echo()
            await call.ended()

    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve())
        keys = (Keys.SDES, Keys.DTLS, Keys.DUAL)
        checkup = await examine(str(bob.contact), CALLER, HASTY, keys=keys, seconds=0.4)
        serving.cancel()
    found = statuses(checkup)
    assert (found["call sdes"], found["call dtls"], found["call dual"]) == ("pass", "fail", "fail")
    for finding in checkup.findings[-2:]:
        assert "to an offer of UDP/TLS/RTP/SAVP with" in finding.detail
        assert "SDES with the same suites was answered" in finding.detail
        assert "only as DTLS, or knows no DTLS-SRTP" in finding.remedy


async def test_findings_come_one_by_one(make_endpoint):
    bob = await make_endpoint("bob")
    uri = str(bob.contact)
    async with Examination(uri, CALLER, HASTY, keys=(Keys.NONE,)) as examination:
        first = await anext(aiter(examination))
        assert first.check == "resolve"
        assert len(examination.result.findings) >= 1
    assert "call none" not in {finding.check for finding in examination.result.findings}
    with pytest.raises(LocalProtocolError, match="once"):
        async with examination:
            pass


async def test_a_server_that_says_nothing_is_waited_for_twice_at_most(silent_port, statuses):
    uri = f"sip:bob@127.0.0.1:{silent_port}"
    checkup = await examine(uri, CALLER, HASTY, patience=1.0)
    assert statuses(checkup) == {
        "resolve": "pass",
        "connect": "skip",
        "tls": "skip",
        "options": "fail",
        "register": "skip",
        "call none": "fail",
        "call sdes": "skip",
        "call dtls": "skip",
        "call dual": "skip",
    }


async def test_patience_ends_before_the_timers_do(silent_port, statuses):
    config = EndpointConfig(f"sip:a@127.0.0.1:{silent_port}", Credentials("a", "b"))
    slow = StackConfig(bind=LOOPBACK)
    checkup = await examine("sip:127.0.0.1", config, slow, patience=0.2, keys=())
    assert statuses(checkup)["register"] == "fail"
    checkup = await examine(f"sip:127.0.0.1:{silent_port}", CALLER, slow, patience=0.2, keys=())
    (options,) = [found for found in checkup.findings if found.check == "options"]
    assert "no answer from" in options.detail


async def test_a_closed_port_is_named(closed_port, statuses):
    config = EndpointConfig("sip:doctor@127.0.0.1", transport=Transport.TCP)
    checkup = await examine(f"sip:bob@127.0.0.1:{closed_port}", config, HASTY)
    found = statuses(checkup)
    assert (found["connect"], found["tls"], found["options"]) == ("fail", "skip", "skip")
    assert found["call dual"] == "skip"


async def test_a_server_that_takes_no_connection_in_time_is_named(statuses):
    with socket.socket() as busy:
        busy.bind((LOOPBACK, 0))
        busy.listen(8)
        config = EndpointConfig("sip:doctor@127.0.0.1", transport=Transport.TLS)
        uri = f"sip:bob@127.0.0.1:{busy.getsockname()[1]}"
        checkup = await examine(uri, config, HASTY, patience=0.3)
    assert statuses(checkup)["connect"] == "fail"
    assert "no answer" in checkup.findings[1].detail


def account(registrar):
    return EndpointConfig(registrar.aor("alice"), Credentials("alice", "pw"))


async def test_an_account_is_registered_while_calls_are_made(statuses):
    async with Registrar({"alice": "pw"}) as registrar:
        checkup = await examine(
            registrar.aor("nobody"), account(registrar), HASTY, keys=[Keys.NONE]
        )
        assert statuses(checkup)["register"] == "pass"
        assert not registrar.contacts("alice")
        nobody = registrar.aor("nobody")
        wrong = EndpointConfig(registrar.aor("alice"), Credentials("alice", "guess"))
        checkup = await examine(nobody, wrong, HASTY, keys=[Keys.NONE])
    found = statuses(checkup)
    assert (found["register"], found["call none"]) == ("fail", "skip")


async def test_who_refuses_to_register_anybody_is_called_all_the_same(phone, statuses):
    async def answer():
        phone.answer(await phone.expect("OPTIONS"), 200, kind="")
        phone.answer(await phone.expect("REGISTER"), 405, kind="")
        phone.answer(await phone.expect("INVITE"), 486, kind="")

    config = EndpointConfig(phone.uri, Credentials("phone", "pw"))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer())
        checkup = await examine(phone.uri, config, HASTY, keys=[Keys.NONE])
    found = statuses(checkup)
    assert (found["register"], found["call none"]) == ("fail", "fail")
    assert "486" in checkup.findings[-1].detail


@pytest.mark.filterwarnings("ignore::callmeter.certificates.CertificateWarning")
@pytest.mark.parametrize(("days", "status"), [(90, "pass"), (5, "warn")])
async def test_a_certificate_that_expires_soon_is_a_warning(statuses, days, status):
    authority = Authority("Root")
    issued = authority.issue("127.0.0.1", ends=timedelta(days=days))
    tls = TlsConfig(certificate=issued.certificate, private_key=issued.private_key)
    trust = TlsConfig(verify=TlsVerify.CUSTOM, ca=authority.pem)
    async with Registrar({"alice": "pw"}, transports=(Transport.TLS,), tls=tls) as registrar:
        uri = f"sip:127.0.0.1:{registrar.address[1]}"
        config = EndpointConfig("sip:doctor@127.0.0.1", transport=Transport.TLS, tls=trust)
        checkup = await examine(uri, config, HASTY)
        assert statuses(checkup)["tls"] == status
        assert "name whom to call" in checkup.findings[-1].detail
        skip = EndpointConfig(
            "sip:doctor@127.0.0.1",
            transport=Transport.TLS,
            tls=TlsConfig(verify=TlsVerify.SKIP),
        )
        checkup = await examine(uri, skip, HASTY)
        assert statuses(checkup)["tls"] == "warn"
        stranger = TlsConfig(verify=TlsVerify.CUSTOM, ca=Authority("Other").pem)
        config = EndpointConfig("sip:doctor@127.0.0.1", transport=Transport.TLS, tls=stranger)
        checkup = await examine(uri, config, HASTY)
    found = statuses(checkup)
    assert (found["connect"], found["tls"], found["options"]) == ("pass", "fail", "skip")


async def test_what_the_dns_does_not_know_is_named(statuses):
    async with NameServer("other A 192.0.2.1") as names:
        stack = StackConfig(bind=LOOPBACK, name_servers=(names.address,))
        checkup = await examine("sip:bob@example.test", CALLER, stack)
    assert statuses(checkup)["resolve"] == "fail"
    assert statuses(checkup)["connect"] == "skip"


@pytest.mark.parametrize(("status", "found"), [(503, "warn"), (404, "pass")])
async def test_an_answer_of_any_kind_shows_that_the_server_is_there(phone, status, found, statuses):
    async def answer():
        phone.answer(await phone.expect("OPTIONS"), status, kind="")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer())
        checkup = await examine(phone.uri, CALLER, HASTY, keys=())
    assert statuses(checkup)["options"] == found


async def test_the_command_prints_the_checks_and_writes_a_page(make_endpoint, tmp_path):
    page = tmp_path / "page.html"
    run = CliRunner().invoke
    async with answering(await make_endpoint("bob")) as uri:
        words = ["doctor", uri, "--keys", "none", "--duration", "0.3", "--html", str(page)]
        good = await asyncio.to_thread(run, app, words)
        told = await asyncio.to_thread(run, app, [*words, "--keys", "sdes", "--json"])
        bad = await asyncio.to_thread(run, app, ["doctor", uri, "--keys", "sdes"])
    assert good.exit_code == 0, good.output
    assert "PASS  call none" in good.stdout
    assert "Nothing failed." in good.stdout
    assert "call none" in page.read_text(encoding="utf-8")
    assert told.exit_code == bad.exit_code == 1
    assert json.loads(told.stdout)["healthy"] is False
    assert "1 of 6 checks failed." in bad.stdout
    assert "->" in bad.stdout
