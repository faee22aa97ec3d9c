"""knot and BIND: what callmeter finds in zones that real name servers serve."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter

import pytest

from callmeter import ResolutionFailed, Transport
from callmeter.sip.uri import parse_uri
from callmeter.transport.resolver import Resolver, ResolverTimes
from peers.dns import DOMAIN, Bind, Knot

UDP, TCP, TLS, WSS, AUTO = Transport
ALL = frozenset({UDP, TCP, TLS, WSS})

SERVERS = [
    pytest.param(Knot, marks=pytest.mark.interop("knot"), id="knot"),
    pytest.param(Bind, marks=pytest.mark.interop("bind"), id="bind"),
]
pytestmark = pytest.mark.parametrize("server", SERVERS, indirect=True)


@pytest.fixture
def server(request, run, tmp_path):
    return run(request.param(tmp_path / "dns"))


@pytest.fixture
async def resolver(server):
    async with asyncio.TaskGroup() as tasks:
        made = Resolver(tasks, name_servers=[server.address])
        yield made
        made.close()


def uri(name, scheme="sip"):
    return parse_uri(f"{scheme}:{name}.{DOMAIN}")


def pairs(port_by_transport):
    """Each service at both addresses of `dual`."""
    return [
        f"{transport.name} {host}:{port}"
        for transport, port in port_by_transport
        for host in ("127.0.0.1", "[::1]")
    ]


CASES = {
    "sip": pairs([(TLS, 5061), (TCP, 5060), (UDP, 5060)]),
    "udpfirst": pairs([(UDP, 5060), (TLS, 5061)]),
    "pref": pairs([(TCP, 5060), (UDP, 5060)]),
    "odd": pairs([(UDP, 5060)]),
    "ws": ["WSS 127.0.0.1:8443"],
    "srvonly": ["UDP 127.0.0.1:5070"],
    "tlsonly": ["TLS 127.0.0.1:5071"],
    "aonly": ["UDP 127.0.0.1:5060"],
    "fail": ["UDP 127.0.0.1:5091", "UDP 127.0.0.1:5092", "UDP 127.0.0.1:5093"],
    "alias": pairs([(TLS, 5061), (TCP, 5060), (UDP, 5060)]),
    "big": [f"UDP 127.0.0.1:5{number:03}" for number in range(1, 33)],
}


@pytest.mark.parametrize("name", CASES)
async def test_the_targets_of_a_domain_come_in_the_order_of_its_records(resolver, name):
    location = await resolver.locate(uri(name), AUTO)
    assert [str(target) for target in location.targets] == CASES[name]
    assert location.fell_back == (name == "aonly")
    assert {target.name for target in location.targets} == {f"{name}.{DOMAIN}"}


async def test_every_address_of_a_host_is_a_target(resolver):
    location = await resolver.locate(uri("multi"), AUTO)
    assert {str(target) for target in location.targets} == {
        "UDP 127.0.0.1:5060",
        "UDP 127.0.0.9:5060",
    }
    assert location.fell_back


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none", "offers no service that is open here"),
        ("dangling", "the NAPTR records of dangling.example.test lead to no server"),
        ("badtarget", "A nohost.example.test: no such name"),
        ("nobody", "A nobody.example.test: no such name"),
        ("circle", "aliases in a circle|SERVFAIL"),  # BIND sees it by itself
    ],
)
async def test_a_domain_that_leads_nowhere_is_told_in_words(resolver, name, said):
    with pytest.raises(ResolutionFailed, match=said) as caught:
        await resolver.locate(uri(name), AUTO)
    assert caught.value.attempts


async def test_weights_decide_within_a_priority_and_priority_before_them(resolver):
    firsts = Counter()
    for _ in range(400):
        ports = [target.port for target in (await resolver.locate(uri("weights"), AUTO)).targets]
        assert sorted(ports[:2]) == [5010, 5090]
        assert ports[2] == 5000
        firsts[ports[0]] += 1
    assert 320 < firsts[5090] < 392  # 360 expected, 6 standard deviations


async def test_a_sips_uri_is_led_to_tls_alone(resolver):
    location = await resolver.locate(uri("sip", "sips"), AUTO)
    assert [str(target) for target in location.targets] == pairs([(TLS, 5061)])
    with pytest.raises(ResolutionFailed):
        await resolver.locate(uri("fail", "sips"), AUTO)


@pytest.mark.parametrize(
    ("closed", "targets"),
    [
        ({TLS}, pairs([(TCP, 5060), (UDP, 5060)])),
        ({TLS, TCP}, pairs([(UDP, 5060)])),
    ],
)
async def test_tcp_and_then_udp_are_chosen_as_the_better_ones_are_switched_off(
    server, closed, targets
):
    async with asyncio.TaskGroup() as tasks:
        resolver = Resolver(tasks, name_servers=[server.address], supported=ALL - closed)
        location = await resolver.locate(uri("sip"), AUTO)
        resolver.close()
    assert [str(target) for target in location.targets] == targets


async def test_a_fixed_transport_finds_its_own_service(resolver):
    location = await resolver.locate(uri("sip"), TCP)
    assert [str(target) for target in location.targets] == pairs([(TCP, 5060)])


async def test_a_name_server_that_is_killed_takes_no_known_domain_away(server):
    now = 0.0
    async with asyncio.TaskGroup() as tasks:
        resolver = Resolver(
            tasks,
            name_servers=[server.address],
            times=ResolverTimes(one_try=0.2, question=0.5, stale_wait=0.1),
            clock=lambda: now,
        )
        before = await resolver.locate(uri("sip"), AUTO)
        server.stop(signal.SIGKILL)
        now = 3600.0
        after = await resolver.locate(uri("sip"), AUTO)
        with pytest.raises(ResolutionFailed, match="could not be found out"):
            await resolver.locate(uri("srvonly"), AUTO)
        resolver.close()
    assert after.targets == before.targets
    assert "an old answer" in after.asked[0].detail


async def test_the_command_line_prints_what_was_asked_and_chosen(server):
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "from callmeter.cli import main; main()"),
        *("resolve", f"udpfirst.{DOMAIN}", "--nameserver", server.address, "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await program.communicate()
    told = json.loads(output)
    assert program.returncode == 0
    assert told["asked"][0]["type"] == "NAPTR"
    assert len(told["asked"][0]["answers"]) == 2
    assert [target["transport"] for target in told["targets"]] == ["UDP", "UDP", "TLS", "TLS"]
