"""`callmeter resolve`, run as a user would."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner

from callmeter.cli.app import app
from callmeter.testing.name_server import NameServer

ZONE = """\
sip NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.sip
sip NAPTR 20 10 "s" "SIP+D2U"  "" _sip._udp.sip
_sips._tcp.sip SRV 10 0 5061 one
_sip._udp.sip SRV 10 0 5060 one
one A 192.0.2.1
_sip._udp.none SRV 0 0 0 .
"""


@pytest.fixture
async def resolve():
    async with NameServer(ZONE) as server:

        async def run(*arguments, servers=(server.address,)):
            options = [part for server in servers for part in ("--nameserver", server)]
            words = ["resolve", *arguments, *options]
            async with asyncio.timeout(60):
                return await asyncio.to_thread(CliRunner().invoke, app, words)

        yield run


async def test_the_table_says_what_was_asked_answered_and_chosen(resolve):
    result = await resolve("sip.example.test")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["Asked", "Name", "Answered"]
    assert rows[1][:2] == ["NAPTR", "sip.example.test"]
    assert ["A", "one.example.test", "192.0.2.1"] in rows
    assert ["1", "TLS", "192.0.2.1", "5061", "one.example.test"] in rows
    assert ["2", "UDP", "192.0.2.1", "5060", "one.example.test"] in rows


async def test_json_has_the_keys_that_are_documented(resolve):
    result = await resolve("sip.example.test", "--json")
    told = json.loads(result.stdout)
    assert told.keys() == {"domain", "asked", "targets", "fell_back"}
    assert told["domain"] == "sip.example.test"
    assert {"name", "type", "answers"} <= told["asked"][0].keys()
    assert told["targets"][0] == {
        "transport": "TLS",
        "host": "one.example.test",
        "address": "192.0.2.1",
        "port": 5061,
    }
    assert told["fell_back"] is False


async def test_a_transport_can_be_given(resolve):
    result = await resolve("sip:bob@one.example.test", "--transport", "tcp", "--json")
    [target] = json.loads(result.stdout)["targets"]
    assert (target["transport"], target["port"]) == ("TCP", 5060)
    assert result.exit_code == 0


async def test_falling_back_is_a_warning(resolve):
    result = await resolve("one.example.test")
    assert result.exit_code == 0
    assert "AUTO fell back" in result.stderr
    assert ["1", "UDP", "192.0.2.1", "5060", "one.example.test"] in [
        line.split() for line in result.stdout.splitlines()
    ]


async def test_a_numeric_host_has_no_questions_to_show(resolve):
    result = await resolve("192.0.2.9")
    assert result.exit_code == 0
    assert "Asked" not in result.stdout
    assert "192.0.2.9" in result.stdout


@pytest.mark.parametrize("arguments", [(), ("--json",)])
async def test_a_domain_without_a_server_is_one_line_of_error_and_status_1(resolve, arguments):
    result = await resolve("none.example.test", *arguments)
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert "ResolutionFailed: none.example.test offers no service" in line
    if arguments:
        told = json.loads(result.stdout)
        assert told["targets"] == []
        assert told["error"] in line
    else:
        assert "0 0 0 ." in result.stdout
        assert "Chosen" not in result.stdout


async def test_wrong_usage_has_status_2(resolve):
    assert (await resolve("not a host")).exit_code == 2
    assert (await resolve("example.test", servers=["[::1"])).exit_code == 2
