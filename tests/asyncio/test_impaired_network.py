"""The network between the endpoints of a test, in real time."""

from __future__ import annotations

import asyncio

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.testing.assertions import assert_secure, wait_heard
from callmeter.testing.impaired_network import REGISTRAR, ImpairedNetwork
from callmeter.testing.network import LinkConditions

PATIENCE = 20


def delivered(network, count=200, source="alice", destination="bob"):
    """What arrives of so many datagrams."""
    arrived = []
    for number in range(count):
        network.carry_media(number.to_bytes(2, "big"), source, destination, arrived.append)
    return arrived


def signaled(network, source, destination, *, reliable=False):
    arrived = []
    network.carry_signaling(b"SIP", source, destination, arrived.append, reliable=reliable)
    return bool(arrived)


def test_without_a_word_it_is_perfect():
    network = ImpairedNetwork()
    assert len(delivered(network)) == 200
    assert network.counters == {"sent": 200, "delivered": 200}


def test_the_same_seed_has_the_same_fate_and_another_another():
    runs = []
    for seed in (1, 1, 2):
        network = ImpairedNetwork(seed)
        network.impair(LinkConditions(loss=0.3, delay=0, corrupt=0.1, duplicate=0.1))
        # What another path carries changes nothing.
        delivered(network, 50 * seed, "bob", "alice")
        runs.append(delivered(network))
    assert runs[0] == runs[1] != runs[2]


def test_a_rule_is_for_its_path_and_kind_and_the_last_one_counts():
    network = ImpairedNetwork()
    all_lost = LinkConditions(loss=1)
    network.impair(all_lost, "alice", "bob", signaling=False)
    assert delivered(network) == []
    assert len(delivered(network, source="bob", destination="alice")) == 200
    assert signaled(network, "alice", REGISTRAR)
    network.impair(all_lost, destination=REGISTRAR, media=False)
    assert not signaled(network, "alice", REGISTRAR)
    assert signaled(network, REGISTRAR, "alice")
    network.impair(LinkConditions(delay=0))
    assert len(delivered(network)) == 200


def test_long_datagrams_do_not_pass_a_small_mtu():
    network = ImpairedNetwork()
    network.impair(LinkConditions(delay=0, mtu=1))
    assert delivered(network) == []
    assert network.counters["too_long"] == 200


def test_a_partition_has_directions_and_an_end():
    network = ImpairedNetwork()
    network.partition("alice")
    assert delivered(network) == []
    assert len(delivered(network, source="bob", destination="alice")) == 200
    network.partition()
    assert not signaled(network, "bob", REGISTRAR)
    network.heal()
    assert len(delivered(network)) == 200


def test_what_travels_by_tcp_arrives_after_the_healing():
    network = ImpairedNetwork()
    network.impair(LinkConditions(loss=1))
    assert signaled(network, "alice", REGISTRAR, reliable=True)
    network.partition("alice", REGISTRAR)
    arrived = []
    for data in (b"1", b"2"):
        network.carry_signaling(data, "alice", REGISTRAR, arrived.append, reliable=True)
    assert arrived == []
    network.heal()
    assert arrived == [b"1", b"2"]


def test_chosen_datagrams_are_lost_so_many_times():
    network = ImpairedNetwork()
    network.lose(lambda source, destination, data: data == b"\x00\x05", times=1)
    network.lose(lambda source, destination, data: source == "alice", times=2)
    arrived = delivered(network, 10)
    assert [data[1] for data in arrived] == [2, 3, 4, 6, 7, 8, 9]


async def test_what_is_delayed_arrives_later_and_reordered():
    network = ImpairedNetwork(3)
    network.impair(LinkConditions(delay=0.005, reorder=0.3, reorder_delay=0.02))
    arrived = delivered(network, 100)
    assert arrived == []
    async with asyncio.timeout(PATIENCE):
        while len(arrived) < 100:  # noqa: ASYNC110  there is no event
            await asyncio.sleep(0.005)
    assert arrived != sorted(arrived)
    assert 10 < network.counters["reordered"] < 60


def test_without_a_registrar_nobody_is_rebound():
    with pytest.raises(LocalProtocolError, match="no registrar is behind"):
        ImpairedNetwork().rebind("alice")


# whole calls


@pytest.mark.parametrize("srtp", ["none", "sdes", "dtls"])
@pytest.mark.parametrize("transport", ["udp", "tls"])
async def test_all_media_of_a_call_goes_through_it(phones, impaired, transport, srtp):
    settings = {"srtp": srtp, "transport": transport}
    alice, bob = await phones("alice", **settings), await phones("bob", **settings)
    signaling = impaired.counters["sent"]
    async with alice.call(bob.aor) as call, asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(call.media.play())
        await wait_heard(call, tone=440)
        playing.cancel()
    stream = call.report().media[0]
    assert stream.secure is (srtp != "none")
    assert impaired.counters["sent"] - signaling >= stream.send["packets_sent"] * 2


async def test_loss_and_delay_are_measured_by_both_ends(phones, impaired, until):
    impaired.impair(LinkConditions(loss=0.3, delay=0.02), signaling=False)
    alice, bob = await phones("alice", srtp="sdes"), await phones("bob", srtp="sdes")
    async with alice.call(bob.aor) as call:
        ends = (call, bob.calls[0])
        async with asyncio.TaskGroup() as tasks:
            playing = tasks.create_task(call.media.play())
            await until(
                lambda: all(end.media.statistics().receive.packets_lost > 5 for end in ends)
            )
            playing.cancel()
    assert_secure(call)
    assert call.report().media[0].receive["packets_lost"] > 5
    assert bob.every_call[0].report().media[0].receive["packets_lost"] > 5


@pytest.mark.parametrize("srtp", ["none", "sdes", "dtls"])
async def test_media_follows_a_rebound_address(phones, impaired, until, srtp):
    alice, bob = await phones("alice", srtp=srtp), await phones("bob", srtp=srtp)
    async with alice.call(bob.aor) as call:
        await call.media.play(seconds=0.5)
        before = bob.calls[0].report().media[0].receive["packets_received"]
        impaired.rebind("alice")
        if srtp == "none":
            await call.media.play(seconds=1)
        else:
            peer = bob.calls[0].media
            async with asyncio.TaskGroup() as tasks:
                playing = tasks.create_task(call.media.play())
                await until(lambda: peer.statistics().receive.packets_received > before + 20)
                playing.cancel()
    # Plain RTP is locked to its source after the first packets.
    assert bob.every_call[0].report().media[0].receive["packets_received"] >= before


async def test_a_lost_answer_is_sent_again(phones, impaired):
    alice, bob = await phones("alice"), await phones("bob")
    impaired.lose(lambda source, destination, data: data.startswith(b"SIP/2.0 200"))
    async with alice.call(bob.aor) as call:
        pass
    assert call.report().timing.metrics()["call_setup_time_ms"] > 400


async def test_damaged_messages_are_refused_or_sent_again(phones, impaired):
    alice, bob = await phones("alice"), await phones("bob")
    impaired.impair(LinkConditions(delay=0, corrupt=0.2, duplicate=0.2), media=False)
    call = await alice.invite(bob.aor)
    impaired.impair(LinkConditions(delay=0))
    await call.bye()
    assert call.over
