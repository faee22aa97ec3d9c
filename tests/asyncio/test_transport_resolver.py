"""The resolver against name servers on loopback: memory, sharing, dead servers, health."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import pytest

from callmeter.config import Transport
from callmeter.errors import ConfigurationError, ResolutionFailed
from callmeter.sip.server_location import Question
from callmeter.sip.uri import parse_uri
from callmeter.testing.name_server import NameServer
from callmeter.transport import resolver as resolver_module
from callmeter.transport.resolver import Resolver, ResolverTimes
from callmeter.transport.system_names import SystemNames

UDP, TCP, TLS, WSS, AUTO = Transport

ZONE = """\
sip NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.sip
sip NAPTR 20 10 "s" "SIP+D2T"  "" _sip._tcp.sip
sip NAPTR 30 10 "s" "SIP+D2U"  "" _sip._udp.sip
_sips._tcp.sip SRV 10 0 5061 one
_sip._tcp.sip  SRV 10 0 5060 one
_sip._udp.sip  SRV 10 0 5060 one
_sip._udp.sip  SRV 20 0 5060 two
one A 127.0.0.1
one AAAA ::1
two A 127.0.0.2
brief 1 A 127.0.0.3
long 900000 A 127.0.0.4
away CNAME pbx.elsewhere.test.
"""
PATIENT = ResolverTimes(one_try=20.0, question=20.0, stale_wait=20.0)
"""Of servers that answer, however late a busy machine lets them."""
QUICK = ResolverTimes(one_try=0.1, question=0.25, stale_wait=0.02)
ONE_SILENT = ResolverTimes(one_try=0.5, question=20.0)
"""Of which one does not answer, and the next one does."""


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Rig:
    server: NameServer
    clock: Clock = field(default_factory=Clock)
    made: list = field(default_factory=list)
    tasks: asyncio.TaskGroup | None = None

    def resolver(self, *servers, **options):
        options = {"clock": self.clock, "times": PATIENT, "families": ("A",)} | options
        resolver = Resolver(
            self.tasks,
            name_servers=[server.address for server in servers or (self.server,)],
            **options,
        )
        self.made.append(resolver)
        return resolver

    def system(self, folder, *, hosts="", servers=()):
        """A resolver of a machine with this hosts file and these name servers."""
        (folder / "hosts").write_text(hosts)
        names = SystemNames(folder / "hosts", folder / "none")
        self.made.append(
            Resolver(self.tasks, system=names, clock=self.clock, times=PATIENT, families=("A",))
        )
        ports = tuple(("127.0.0.1", server.port) for server in servers)
        names.refresh = refreshing(names, ports)
        return self.made[-1]


def refreshing(names, ports):
    refresh = names.refresh

    async def wrapped(now):
        await refresh(now)
        names.servers = ports

    return wrapped


@pytest.fixture
async def rig():
    async with NameServer(ZONE) as server, asyncio.TaskGroup() as tasks:
        rig = Rig(server, tasks=tasks)
        yield rig
        for resolver in rig.made:
            resolver.close()


@pytest.fixture
async def spare():
    async with NameServer(ZONE) as server:
        yield server


def address(name):
    return Question(f"{name}.example.test", "A")


def texts(answer):
    return [str(record) for record in answer.records]


def uri(name="sip", rest=""):
    return parse_uri(f"sip:{name}.example.test{rest}")


# where a URI leads


async def test_auto_finds_every_service_of_a_domain_in_its_order(rig):
    location = await rig.resolver(families=("A", "AAAA")).locate(uri(), AUTO)
    assert [str(target) for target in location.targets] == [
        "TLS 127.0.0.1:5061",
        "TLS [::1]:5061",
        "TCP 127.0.0.1:5060",
        "TCP [::1]:5060",
        "UDP 127.0.0.1:5060",
        "UDP [::1]:5060",
        "UDP 127.0.0.2:5060",
    ]
    assert {target.name for target in location.targets} == {"sip.example.test"}
    assert [str(answer.question) for answer in location.asked] == rig.server.asked
    assert not location.fell_back


async def test_families_can_be_named_for_one_request(rig):
    location = await rig.resolver().locate(uri(), TLS, families=("AAAA",))
    assert [str(target) for target in location.targets] == ["TLS [::1]:5061"]


async def test_a_port_of_a_peers_uri_counts(rig):
    location = await rig.resolver().locate(uri("two", ":7000"), AUTO, strict=True)
    assert [str(target) for target in location.targets] == ["UDP 127.0.0.2:7000"]


async def test_a_transport_that_is_not_open_is_not_looked_for(rig):
    resolver = rig.resolver(supported=frozenset({UDP}))
    location = await resolver.locate(uri(), AUTO)
    assert {target.transport for target in location.targets} == {UDP}
    with pytest.raises(ResolutionFailed, match="TLS is not open"):
        await resolver.locate(uri(), TLS)


async def test_a_numeric_host_is_asked_nowhere(rig):
    resolver = rig.resolver()
    location = await resolver.locate(parse_uri("sip:192.0.2.1:5070"), TCP)
    assert [str(target) for target in location.targets] == ["TCP 192.0.2.1:5070"]
    assert (await resolver.ask(Question("192.0.2.1", "A"))).outcome == "nxdomain"
    assert rig.server.asked == []


async def test_a_domain_without_an_address_fails_with_all_that_was_asked(rig):
    with pytest.raises(ResolutionFailed) as caught:
        await rig.resolver().locate(uri("nobody"), TLS)
    assert str(caught.value) == (
        "no address for nobody.example.test: A nobody.example.test: no such name"
    )
    assert caught.value.destination == "TLS nobody.example.test"
    assert caught.value.attempts == (
        "SRV _sips._tcp.nobody.example.test: no such name",
        "A nobody.example.test: no such name",
    )


async def test_what_is_in_memory_is_known_at_once(rig):
    resolver = rig.resolver()
    assert resolver.known(uri(), AUTO) is None
    located = await resolver.locate(uri(), AUTO)
    known = resolver.known(uri(), AUTO)
    assert known is not None
    assert known.targets == located.targets
    assert resolver.known(parse_uri("sip:192.0.2.1"), UDP) is not None
    assert resolver.known(uri(), WSS) is None
    with pytest.raises(ResolutionFailed):
        await resolver.locate(uri(), WSS)
    assert resolver.known(uri(), WSS) is None
    rig.clock.now += 61
    assert resolver.known(uri(), AUTO) is None


# memory


@pytest.mark.parametrize(("name", "kept"), [("one", 60.0), ("brief", 5.0), ("long", 3600.0)])
async def test_an_answer_is_kept_for_its_ttl_within_five_seconds_and_an_hour(rig, name, kept):
    resolver = rig.resolver()
    await resolver.ask(address(name))
    rig.clock.now += kept - 0.1
    await resolver.ask(address(name))
    assert len(rig.server.asked) == 1
    rig.clock.now += 0.1
    assert (await resolver.ask(address(name))).outcome == "ok"
    assert len(rig.server.asked) == 2


@pytest.mark.parametrize(
    ("question", "outcome"),
    [(Question("one.example.test", "NAPTR"), "no-data"), (address("nobody"), "nxdomain")],
)
async def test_that_there_is_none_is_kept_for_thirty_seconds(rig, question, outcome):
    resolver = rig.resolver()
    for after in (0.0, 29.9):
        rig.clock.now += after
        assert (await resolver.ask(question)).outcome == outcome
    assert len(rig.server.asked) == 1
    rig.clock.now += 0.1
    await resolver.ask(question)
    assert len(rig.server.asked) == 2


async def test_that_nobody_answers_is_kept_for_five_seconds(rig):
    rig.server.rcode = "SERVFAIL"
    resolver = rig.resolver()
    for after in (0.0, 4.9):
        rig.clock.now += after
        answer = await resolver.ask(address("one"))
        assert answer.outcome == "failure"
        assert "SERVFAIL" in answer.detail
    assert len(rig.server.asked) == 1
    rig.server.rcode = None
    rig.clock.now += 0.1
    assert texts(await resolver.ask(address("one"))) == ["127.0.0.1"]


async def test_an_old_answer_serves_for_a_day_while_servers_are_dead(rig):
    resolver = rig.resolver()
    await resolver.ask(address("one"))
    rig.server.rcode = "SERVFAIL"
    rig.clock.now += 61
    answer = await resolver.ask(address("one"))
    assert texts(answer) == ["127.0.0.1"]
    assert "an old answer" in answer.detail
    rig.clock.now += 86_400 - 2
    assert texts(await resolver.ask(address("one"))) == ["127.0.0.1"]
    rig.clock.now += 31
    assert (await resolver.ask(address("one"))).outcome == "failure"


async def test_dead_servers_are_asked_again_after_thirty_seconds_of_an_old_answer(rig):
    resolver = rig.resolver(times=PATIENT)
    await resolver.ask(address("one"))
    rig.server.rcode = "SERVFAIL"
    for after, questions in ((61, 2), (29.9, 2), (0.2, 3)):
        rig.clock.now += after
        assert texts(await resolver.ask(address("one"))) == ["127.0.0.1"]
        assert len(rig.server.asked) == questions
    rig.server.rcode = None
    rig.server.load(ZONE.replace("one A 127.0.0.1", "one A 127.0.0.9"))
    rig.clock.now += 31
    answer = await resolver.ask(address("one"))
    assert (texts(answer), answer.detail) == (["127.0.0.9"], "")


async def test_a_caller_with_an_old_answer_does_not_wait_for_a_silent_server(rig):
    resolver = rig.resolver(times=ResolverTimes(one_try=30.0, question=30.0, stale_wait=0.02))
    await resolver.ask(address("one"))
    rig.clock.now += 61
    rig.server.silent = True
    async with asyncio.timeout(20):  # and `one_try` is 30
        for _ in range(2):
            answer = await resolver.ask(address("one"))
            assert texts(answer) == ["127.0.0.1"]
            assert "an old answer" in answer.detail
    assert len(rig.server.asked) == 2


async def test_a_fresh_answer_is_waited_for_although_there_is_an_old_one(rig):
    resolver = rig.resolver(times=PATIENT)
    await resolver.ask(address("one"))
    rig.server.load(ZONE.replace("one A 127.0.0.1", "one A 127.0.0.9"))
    rig.clock.now += 61
    assert texts(await resolver.ask(address("one"))) == ["127.0.0.9"]


async def test_a_name_that_was_taken_away_is_not_served_from_memory(rig):
    resolver = rig.resolver(times=PATIENT)
    await resolver.ask(address("one"))
    rig.server.load("other A 127.0.0.1")
    rig.clock.now += 61
    assert (await resolver.ask(address("one"))).outcome == "nxdomain"


async def test_a_name_server_that_dies_takes_no_located_domain_away(rig):
    resolver = rig.resolver()
    before = await resolver.locate(uri(), AUTO)
    rig.server.close()
    rig.clock.now += 4000
    after = await resolver.locate(uri(), AUTO)
    assert after.targets == before.targets
    assert all("an old answer" in answer.detail for answer in after.asked if answer.records)


async def test_what_is_remembered_is_bounded(rig, monkeypatch):
    monkeypatch.setattr(resolver_module, "REMEMBERED", 2)
    resolver = rig.resolver()
    for name in ("one", "two", "long", "two"):
        await resolver.ask(address(name))
    assert len(rig.server.asked) == 3
    await resolver.ask(address("one"))
    assert len(rig.server.asked) == 4


# one query in flight


async def test_many_callers_share_one_query(rig):
    rig.server.delay = 0.02
    resolver = rig.resolver(times=ResolverTimes())
    async with asyncio.TaskGroup() as callers:
        asking = [callers.create_task(resolver.locate(uri("two"), UDP)) for _ in range(50)]
    assert {task.result().targets for task in asking} == {asking[0].result().targets}
    assert sorted(rig.server.asked) == ["A two.example.test", "SRV _sip._udp.two.example.test"]


async def test_a_caller_who_gives_up_takes_nobodys_answer_away(rig):
    rig.server.delay = 0.05
    resolver = rig.resolver(times=ResolverTimes())
    async with asyncio.TaskGroup() as callers:
        first = callers.create_task(resolver.ask(address("one")))
        second = callers.create_task(resolver.ask(address("one")))
        await asyncio.sleep(0.01)
        first.cancel()
    assert first.cancelled()
    assert texts(second.result()) == ["127.0.0.1"]
    assert len(rig.server.asked) == 1


async def test_the_only_caller_who_gives_up_leaves_the_answer_for_the_next(rig):
    rig.server.delay = 0.02
    resolver = rig.resolver(times=ResolverTimes())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.005):
            await resolver.ask(address("one"))
    assert texts(await resolver.ask(address("one"))) == ["127.0.0.1"]
    assert len(rig.server.asked) == 1


async def test_questions_of_one_stage_are_asked_at_the_same_time(rig, standstill):
    rig.server.delay = 0.2
    resolver = rig.resolver(times=ResolverTimes(), families=("A", "AAAA"))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await resolver.locate(uri(), AUTO)
    waited = loop.time() - begun
    assert len(rig.server.asked) == 8
    assert waited < 0.2 * 7 + standstill.seconds  # of three stages


async def test_a_closed_resolver_answers_that_it_is_closed_and_asks_nobody(rig):
    rig.server.silent = True
    resolver = rig.resolver(times=ResolverTimes())
    async with asyncio.TaskGroup() as callers:
        waiting = callers.create_task(resolver.ask(address("one")))
        await asyncio.sleep(0.02)
        resolver.close()
        resolver.close()
    for answer in (waiting.result(), await resolver.ask(address("two"))):
        assert (answer.outcome, answer.detail) == ("failure", "the resolver is closed")
    assert rig.server.asked == ["A one.example.test"]


async def test_questions_beyond_the_bound_wait_and_then_fail(rig):
    rig.server.silent = True
    resolver = rig.resolver(times=ResolverTimes(one_try=0.1, question=0.03))
    resolver._slots = asyncio.Semaphore(1)
    async with asyncio.TaskGroup() as callers:
        await resolver._slots.acquire()
        waiting = callers.create_task(resolver.ask(address("one")))
    assert waiting.result().detail == "too many questions at once"
    assert rig.server.asked == []


# servers


async def test_the_next_server_answers_for_one_that_is_closed_silent_or_failing(rig, spare):
    for name, fault in (("one", "closed"), ("two", "silent"), ("long", "failing")):
        rig.server.silent = fault == "silent"
        rig.server.rcode = "SERVFAIL" if fault == "failing" else None
        async with NameServer(ZONE) as closed:
            pass
        first = closed if fault == "closed" else rig.server
        answer = await rig.resolver(first, spare, times=ONE_SILENT).ask(address(name))
        assert answer.outcome == "ok"
    assert len(spare.asked) == 3


async def test_a_silent_server_stands_behind_the_others_for_a_while(rig, spare):
    resolver = rig.resolver(rig.server, spare, times=ONE_SILENT)
    rig.server.silent = True
    await resolver.ask(address("one"))
    await resolver.ask(address("two"))
    assert (len(rig.server.asked), len(spare.asked)) == (1, 2)
    rig.server.silent = False
    rig.clock.now += 30
    await resolver.ask(address("long"))
    assert (len(rig.server.asked), len(spare.asked)) == (2, 2)


async def test_a_server_whose_one_answer_was_lost_is_asked_a_second_time(rig):
    rig.server.silent = True
    resolver = rig.resolver(times=ResolverTimes(one_try=0.3))
    async with asyncio.TaskGroup() as callers:
        asking = callers.create_task(resolver.ask(address("one")))
        await asyncio.sleep(0.025)
        rig.server.silent = False
    assert texts(asking.result()) == ["127.0.0.1"]
    assert len(rig.server.asked) == 2


async def test_dead_servers_cost_a_bounded_time_and_the_next_question_less(rig, spare):
    rig.server.silent = spare.silent = True
    resolver = rig.resolver(rig.server, spare, times=QUICK)
    async with asyncio.timeout(5):
        answer = await resolver.ask(address("one"))
        assert answer.outcome == "failure"
        assert answer.detail.count("did not answer") == 2
        asked = len(rig.server.asked) + len(spare.asked)
        assert 2 <= asked <= 3
        await resolver.ask(address("two"))
    assert len(rig.server.asked) + len(spare.asked) == asked + 1


async def test_an_alias_into_another_domain_is_asked_for_in_turn(rig, spare):
    rig.server.load("away 9 CNAME pbx.elsewhere.test.")
    async with NameServer("pbx A 127.0.0.7", origin="elsewhere.test") as other:
        answer = await rig.resolver(rig.server, other).ask(address("away"))
    assert answer.question == address("away")
    assert (texts(answer), answer.ttl) == (["127.0.0.7"], 9.0)


async def test_aliases_in_a_circle_through_two_servers_are_cut(rig):
    rig.server.load("away CNAME pbx.elsewhere.test.")
    async with NameServer("pbx CNAME away.example.test.", origin="elsewhere.test") as other:
        answer = await rig.resolver(rig.server, other).ask(address("away"))
    assert (answer.outcome, answer.detail) == ("failure", "aliases in a circle")


async def test_a_name_server_may_be_named_by_a_host_name(rig):
    by_name = Resolver(rig.tasks, name_servers=[f"localhost:{rig.server.port}"], times=PATIENT)
    rig.made.append(by_name)
    for name in ("one", "two"):
        assert (await by_name.ask(address(name))).outcome == "ok"


async def test_a_name_server_whose_name_has_no_address_is_none(rig, monkeypatch):
    async def getaddrinfo(*_, **__):
        raise OSError("no such host")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    lost = Resolver(rig.tasks, name_servers=["nobody.invalid:53"], times=QUICK)
    rig.made.append(lost)
    answer = await lost.ask(address("one"))
    assert (answer.outcome, answer.detail) == ("failure", "no name server is known")


async def test_a_name_server_that_is_none_is_refused_before_anything_is_asked(rig):
    with pytest.raises(ConfigurationError, match="no name server"):
        Resolver(rig.tasks, name_servers=["a:b:c"])


# the machine's own names


async def test_the_hosts_file_is_honoured_when_no_name_server_is_configured(rig, tmp_path):
    resolver = rig.system(tmp_path, hosts="127.0.0.5 one.example.test", servers=[rig.server])
    location = await resolver.locate(uri("one"), AUTO)
    assert [str(target) for target in location.targets] == ["UDP 127.0.0.5:5060"]
    assert location.fell_back
    assert rig.server.asked == []
    assert location.asked[-1].detail == "from the hosts file"


async def test_localhost_is_loopback_without_asking(rig, tmp_path):
    location = await rig.system(tmp_path).locate(parse_uri("sip:localhost"), TCP)
    assert [str(target) for target in location.targets] == ["TCP 127.0.0.1:5060"]


async def test_the_machines_name_servers_are_asked_when_none_is_configured(rig, tmp_path):
    resolver = rig.system(tmp_path, servers=[rig.server])
    location = await resolver.locate(uri(), TLS)
    assert [str(target) for target in location.targets] == ["TLS 127.0.0.1:5061"]


async def test_configured_name_servers_are_asked_in_place_of_the_hosts_file(rig):
    assert (await rig.resolver().ask(Question("localhost", "A"))).outcome == "failure"
    assert rig.server.asked == ["A localhost"]


@pytest.mark.parametrize("served", [True, False])
async def test_a_name_the_dns_does_not_know_is_asked_of_the_rest_of_the_machine(
    rig, tmp_path, monkeypatch, served
):
    async def getaddrinfo(host, port, **options):
        asked.append(host)
        return [(2, 2, 17, "", ("127.0.0.8", 0)), (2, 1, 6, "", ("127.0.0.8", 0))]

    asked = []
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    resolver = rig.system(tmp_path, servers=[rig.server] if served else [])
    answer = await resolver.ask(address("printer"))
    assert (texts(answer), answer.detail) == (["127.0.0.8"], "from the system")
    assert asked == ["printer.example.test"]


async def test_a_name_nobody_knows_has_the_answer_of_the_dns(rig, tmp_path, monkeypatch):
    async def getaddrinfo(*_, **__):
        raise OSError("no such host")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    resolver = rig.system(tmp_path, servers=[rig.server])
    assert (await resolver.ask(address("nobody"))).outcome == "nxdomain"


# the health of targets


async def test_a_target_that_failed_comes_last_and_one_that_said_503_not_at_all(rig):
    resolver = rig.resolver(supported=frozenset({UDP}))
    one, two = (await resolver.locate(uri(), AUTO)).targets
    resolver.mark_failed(one.destination)
    assert (await resolver.locate(uri(), AUTO)).targets == (two, one)
    resolver.mark_unavailable(two.destination, 5.0)
    assert (await resolver.locate(uri(), AUTO)).targets == (one,)
    resolver.mark_unavailable(one.destination)
    assert (await resolver.locate(uri(), AUTO)).targets == (two,)
    resolver.mark_good(one.destination)
    assert (await resolver.locate(uri(), AUTO)).targets == (one,)
    rig.clock.now += 5.0
    assert (await resolver.locate(uri(), AUTO)).targets == (one, two)
