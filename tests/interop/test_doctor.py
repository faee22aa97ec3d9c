"""`callmeter doctor` against kamailio and baresip, with one thing broken at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys

import pytest

from callmeter.testing.name_server import NameServer
from peers.baresip import HOST
from peers.certificates import Certificates
from peers.kamailio import DOMAIN, PASSWORD

pytestmark = pytest.mark.interop("kamailio", "baresip", "iptables")
PATIENCE = 120


@pytest.fixture
def doctor(tmp_path):
    """Run the command as a user does; the exit status and the checks by their name."""

    async def consult(uri, *words):
        program = "from callmeter.cli import main; main()"
        command = [sys.executable, "-P", "-c", program, "doctor", uri, "--json", *words]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
        assert out, err.decode()
        told = json.loads(out)
        assert told["healthy"] is (process.returncode == 0)
        return {check["check"]: check for check in told["checks"]}

    return consult


def account(proxy, password=PASSWORD, user="alice"):
    words = ("--aor", f"sip:{user}@{DOMAIN}", "--password", password)
    return (*words, "--outbound-proxy", proxy)


def statuses(checks):
    return {name: check["status"] for name, check in checks.items()}


def failed(checks):
    return [name for name, check in checks.items() if check["status"] == "fail"]


@pytest.fixture
def block():
    """Drop datagrams from and to these ports, as a firewall does that lets SIP pass."""
    with contextlib.ExitStack() as removed:

        def drop(first, last):
            for end in ("--sport", "--dport"):
                rule = ["INPUT", "-i", "lo", "-p", "udp", end, f"{first}:{last}", "-j", "DROP"]
                subprocess.run(["iptables", "-w", "-A", *rule], check=True)
                removed.callback(subprocess.run, ["iptables", "-w", "-D", *rule], check=True)

        yield drop


@pytest.fixture
async def certificates(tmp_path):
    made = Certificates()
    (tmp_path / "ca.pem").write_text(made.ca)
    return made


async def test_nothing_is_wrong_with_a_server_where_nothing_is(
    doctor, kamailio, baresip, certificates, tmp_path
):
    proxy = kamailio(certificates=certificates)
    baresip("bob", encryption="srtp-mand", registrar=proxy.address)
    await proxy.bound("bob")
    checks = await doctor(
        f"sip:bob@{DOMAIN}",
        *account(proxy.tls_address()),
        *("--transport", "tls", "--tls-ca", str(tmp_path / "ca.pem"), "--keys", "sdes"),
        *("--html", "page.html"),
    )
    assert failed(checks) == []
    assert checks["connect"]["status"] == "pass"
    assert "TLSv1.3" in checks["tls"]["detail"]
    assert "200 OK" in checks["options"]["detail"]
    assert checks["register"]["status"] == "pass"
    assert "AES_CM_128_HMAC_SHA1_80" in checks["call sdes"]["detail"]
    assert "Nothing failed." in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("listener", "told", "remedy"),
    [
        ("expired", "certificate has expired", "Renew"),
        ("untrusted", "certificate signed by unknown authority", "--tls-ca"),
        ("wrong-name", "certificate is valid for other.invalid, not", "subjectAltName"),
    ],
)
async def test_a_certificate_is_refused_for_its_own_reason(
    doctor, kamailio, certificates, tmp_path, listener, told, remedy
):
    proxy = kamailio(certificates=certificates)
    checks = await doctor(
        f"sip:bob@{DOMAIN}",
        *account(proxy.tls_address(listener)),
        *("--transport", "tls", "--tls-ca", str(tmp_path / "ca.pem")),
    )
    assert failed(checks) == ["tls"]
    assert told in checks["tls"]["detail"]
    assert remedy in checks["tls"]["remedy"]
    assert checks["connect"]["status"] == "pass"
    assert statuses(checks)["call sdes"] == "skip"


async def test_a_wrong_password_is_named_and_no_call_is_made(doctor, kamailio):
    proxy = kamailio()
    checks = await doctor(f"sip:bob@{DOMAIN}", *account(proxy.address, "guess"))
    assert failed(checks) == ["register"]
    assert "refused the credentials" in checks["register"]["detail"]
    assert "password" in checks["register"]["remedy"]
    assert checks["call none"]["detail"] == "the account was refused"


async def test_no_suite_in_common_is_named_by_the_call_that_needs_one(doctor, baresip):
    bob = baresip("bob", encryption="srtp-mand")
    suites = ("--suites", "AES_256_CM_HMAC_SHA1_80", "--keys", "sdes")
    checks = await doctor(bob.uri, *suites)
    assert failed(checks) == ["call sdes"]
    # baresip 1.0 answers with a suite of its own instead of a 488.
    assert "AES_CM_128_HMAC_SHA1_80: no such line was offered" in checks["call sdes"]["detail"]
    assert "offer compatible ones, both AES_CM_128_HMAC_SHA1_80" in checks["call sdes"]["remedy"]


async def test_a_phone_without_srtp_fails_the_calls_with_keys_alone(doctor, baresip):
    bob = baresip("bob")
    checks = await doctor(bob.uri)
    assert statuses(checks)["call none"] == "pass"
    assert failed(checks) == ["call sdes", "call dtls", "call dual"]
    for name in failed(checks):
        assert "488" in checks[name]["detail"]
        assert checks[name]["remedy"]


async def test_missing_records_are_named(doctor, kamailio):
    proxy = kamailio()
    words = ("--transport", "auto", "--keys", "none")
    async with NameServer(f"@ A {HOST}", origin=DOMAIN) as names:
        checks = await doctor(f"sip:{DOMAIN}", "--nameserver", names.address, *words)
        assert checks["resolve"]["status"] == "warn"
        assert "neither NAPTR nor SRV" in checks["resolve"]["detail"]
        assert "Add NAPTR or SRV records" in checks["resolve"]["remedy"]
    async with NameServer("other A 192.0.2.1", origin=DOMAIN) as names:
        checks = await doctor(f"sip:{DOMAIN}", "--nameserver", names.address, *words)
        assert failed(checks) == ["resolve"]
        assert f"no address for {DOMAIN}" in checks["resolve"]["detail"]
    records = f"_sip._udp SRV 0 0 {proxy.port} sip\nsip A {HOST}"
    async with NameServer(records, origin=DOMAIN) as names:
        checks = await doctor(f"sip:{DOMAIN}", "--nameserver", names.address, *words)
        assert failed(checks) == []
        assert f"UDP {HOST} port {proxy.port}" in checks["resolve"]["detail"]
        assert "name whom to call" in checks["call none"]["detail"]


async def test_a_blocked_media_port_is_named(doctor, baresip, block):
    bob = baresip("bob")
    block(bob.media_port, bob.media_port + 19)
    checks = await doctor(bob.uri, "--keys", "none")
    assert failed(checks) == ["call none"]
    assert "media" in checks["call none"]["detail"]
    assert checks["call none"]["remedy"]
