from __future__ import annotations

import itertools
import os
import random
import statistics
from datetime import UTC, datetime

import pytest

from callmeter.config import SrtpSuite
from callmeter.errors import (
    DtlsHandshakeFailed,
    DtlsTimeout,
    FingerprintMismatch,
    NegotiationError,
)
from callmeter.sdp.attributes import Setup
from callmeter.srtp.context import SrtpContext
from callmeter.srtp.dtls_certificate import DtlsCertificate
from callmeter.srtp.dtls_endpoint import MAX_PROVISIONAL, DtlsTransport, role_for
from callmeter.srtp.dtls_records import records
from callmeter.srtp.session_parameters import SessionParameters

LONG = bool(os.environ.get("CALLMETER_LONG"))
CLIENT = ("192.0.2.1", 40_000)
SERVER = ("192.0.2.2", 50_000)
NATTED = ("198.51.100.7", 61_000)
STRANGER = ("203.0.113.9", 666)

RTP = bytes([0x80, 0, 0, 1, 0, 0, 0, 160]) + b"SSRC" + bytes(160)


class Pair:
    """A path with both ends, and what their descriptions say."""

    def __init__(self, path, certificates, **settings):
        self.client_certificate, self.server_certificate = certificates
        self.client = DtlsTransport(self.client_certificate, **settings)
        self.server = DtlsTransport(self.server_certificate, **settings)
        self.make_path = path
        self.path = path(self.client, self.server)

    def lossy(self, loss, seed):
        self.path = self.make_path(self.client, self.server, loss=loss, seed=seed)
        return self

    def start_server(self, fingerprints=None, remote=CLIENT):
        expected = fingerprints or [self.client_certificate.fingerprint()]
        self.path.take(self.server.start("server", expected, remote, self.path.now), SERVER)

    def start_client(self, fingerprints=None, remote=SERVER):
        expected = fingerprints or [self.server_certificate.fingerprint()]
        self.path.take(self.client.start("client", expected, remote, self.path.now), CLIENT)

    def start(self):
        self.start_server()
        self.start_client()
        return self

    def run(self, **options):
        self.path.run(**options)
        return self

    def assert_media_flows(self):
        plain = SessionParameters()
        for sender, receiver in ((self.client, self.server), (self.server, self.client)):
            keys = sender.keys
            protect = SrtpContext((keys.profile, keys.send, plain), "send")
            keys = receiver.keys
            unprotect = SrtpContext((keys.profile, keys.receive, plain), "receive")
            protected = protect.protect(RTP)
            assert protected != RTP
            assert unprotect.unprotect(protected) == RTP


@pytest.fixture
def pair(dtls_path, dtls_certificates):
    return Pair(dtls_path, dtls_certificates)


@pytest.fixture
def make_pair(dtls_path, dtls_certificates):
    return lambda **settings: Pair(dtls_path, dtls_certificates, **settings)


@pytest.fixture
def hello(dtls_certificates):
    """Makes ClientHellos, each of a handshake of its own."""

    def make():
        client = DtlsTransport(dtls_certificates[0])
        fingerprints = [dtls_certificates[1].fingerprint()]
        return client.start("client", fingerprints, SERVER, 0.0).outgoing[0][0]

    return make


@pytest.fixture
def broken_answer(dtls_certificates):
    """Makes whole flights of a server, right but for the cipher suite: it was not offered."""

    def make(hello):
        server = DtlsTransport(dtls_certificates[1])
        server.start("server", [dtls_certificates[0].fingerprint()], CLIENT, 0.0)
        flight = bytearray(b"".join(x for x, _ in server.on_datagram(hello, CLIENT, 0.0).outgoing))
        session_id_at = 13 + 12 + 2 + 32
        suite_at = session_id_at + 1 + flight[session_id_at]
        flight[suite_at : suite_at + 2] = b"\x00\x00"
        return bytes(flight)

    return make


def is_alert(datagram):
    return datagram[0] == 21


class TestRoles:
    @pytest.mark.parametrize(
        ("local", "remote", "role"),
        [
            (Setup.ACTPASS, Setup.ACTIVE, "server"),
            (Setup.ACTPASS, Setup.PASSIVE, "client"),
            (Setup.ACTIVE, Setup.ACTPASS, "client"),
            (Setup.ACTIVE, Setup.PASSIVE, "client"),
            (Setup.PASSIVE, Setup.ACTPASS, "server"),
            (Setup.PASSIVE, Setup.ACTIVE, "server"),
            (Setup.HOLDCONN, Setup.ACTPASS, None),
            (Setup.ACTPASS, Setup.HOLDCONN, None),
            (Setup.HOLDCONN, Setup.HOLDCONN, None),
        ],
    )
    def test_the_active_end_is_the_client(self, local, remote, role):
        assert role_for(local, remote) == role

    @pytest.mark.parametrize("setup", [Setup.ACTIVE, Setup.PASSIVE, Setup.ACTPASS])
    def test_two_ends_that_want_the_same_are_refused(self, setup):
        with pytest.raises(NegotiationError, match=f"both ends say a=setup:{setup}"):
            role_for(setup, setup)


class TestHandshake:
    def test_both_ends_get_keys_that_interoperate(self, pair):
        pair.start().run()
        pair.assert_media_flows()
        assert pair.client.source == SERVER
        assert pair.server.source == CLIENT
        assert len(pair.path.keys[CLIENT]) == len(pair.path.keys[SERVER]) == 1
        assert pair.client.statistics.rehandshakes == pair.server.statistics.rehandshakes == 0
        assert pair.client.statistics.datagrams_sent == pair.server.statistics.datagrams_received

    def test_the_state_is_shown_and_the_keys_are_not(self, pair):
        early = repr(pair.server)
        pair.start()
        handshaking = repr(pair.client)
        pair.run()
        assert early == "<DtlsTransport early handshaking>"
        assert handshaking == "<DtlsTransport client handshaking>"
        assert repr(pair.client) == "<DtlsTransport client established>"
        shown = repr(pair.path.keys) + repr(pair.client.keys)
        for key in (pair.client.keys.send, pair.client.keys.receive):
            assert repr(key.key_and_salt) not in shown
            assert key.key_and_salt.hex() not in shown

    def test_a_client_hello_before_the_answer_is_not_lost(self, pair):
        pair.start_client()
        pair.run(until=lambda path: path.delivered == 4)
        assert not pair.server.established
        assert not pair.path.keys[SERVER]
        pair.start_server()
        assert pair.server.established
        pair.run().assert_media_flows()

    def test_an_early_handshake_with_a_wrong_certificate_is_refused_at_the_answer(self, pair):
        pair.start_client()
        pair.run(until=lambda path: path.delivered == 4)
        pair.start_server([pair.server_certificate.fingerprint()])
        assert isinstance(pair.path.failures[SERVER], FingerprintMismatch)
        assert not pair.server.established

    def test_an_early_handshake_is_dropped_when_the_answer_makes_this_end_the_client(self, pair):
        pair.path.forge(b"\x80 not DTLS", STRANGER, SERVER)
        pair.start_client()
        pair.run(until=lambda path: path.delivered == 1)
        result = pair.server.start(
            "client", [pair.client_certificate.fingerprint()], CLIENT, pair.path.now
        )
        assert [to for _, to in result.outgoing] == [CLIENT]
        assert pair.server.statistics.discarded == 1

    def test_an_early_handshake_from_elsewhere_counts_only_when_symmetric(self, make_pair):
        pair = make_pair(symmetric=False)
        pair.start_client()
        pair.run(until=lambda path: path.delivered == 4)
        pair.start_server(remote=NATTED)
        assert not pair.server.established
        assert pair.server.next_deadline() == pytest.approx(pair.path.now + 30)

    def test_close_notify_goes_to_the_verified_peer_and_only_once(self, pair):
        pair.start().run()
        result = pair.client.close()
        assert [(is_alert(each), to) for each, to in result.outgoing] == [(True, SERVER)]
        assert not pair.client.close().outgoing
        assert pair.client.next_deadline() is None
        assert not pair.client.on_deadline(99.0).outgoing
        assert not pair.client.on_datagram(b"\x16", SERVER, 99.0).outgoing

    def test_closing_a_handshake_that_is_not_verified_says_nothing(self, pair):
        pair.start()
        pair.run(until=lambda path: path.delivered == 1)
        assert not pair.server.close().outgoing
        assert not pair.client.close().outgoing


class TestLoss:
    @pytest.mark.parametrize(("loss", "least"), [(0.1, 1.0), (0.3, 0.995)])
    def test_handshakes_outlive_loss_in_both_directions(self, make_pair, loss, least):
        calls = 1_000 if LONG else 30
        times = []
        for seed in range(calls):
            pair = make_pair().lossy(loss, seed).start().run(seconds=30.0)
            if pair.path.established:
                times.append(pair.path.now)
                assert pair.client.keys.send == pair.server.keys.receive
        assert len(times) >= least * calls
        assert statistics.median(times) < 1.5

    def test_every_single_datagram_may_be_lost(self, make_pair):
        for lost in range(4):
            pair = make_pair()
            count = itertools.count()
            pair.path._random.random = lambda lost=lost, count=count: (
                -1.0 if next(count) // 2 == lost else 0.5
            )
            pair.path._loss = 0.0
            pair.start().run(seconds=5.0)
            assert pair.path.established, lost


HOSTILE = 1_000 if LONG else 60


class TestHostileDatagrams:
    @pytest.mark.parametrize("source", ["stranger", "forged"])
    def test_no_hostile_datagram_keeps_a_call_from_connecting(
        self, make_pair, hostile_datagrams, source
    ):
        kinds = list(hostile_datagrams.items())
        for call in range(HOSTILE):
            name, datagram = kinds[call % len(kinds)]
            position = call // len(kinds) % 5
            victim = (SERVER, CLIENT)[call % 2]
            peer = CLIENT if victim is SERVER else SERVER
            pair = make_pair().start()
            pair.run(until=lambda path, at=position: path.delivered >= at, seconds=5.0)
            pair.path.forge(datagram, STRANGER if source == "stranger" else peer, victim)
            pair.run(seconds=29.0)
            pair.run(until=lambda _: False, seconds=10.0)
            case = f"{name} at {position} to the {victim}"
            assert pair.path.established, case
            pair.assert_media_flows()
            assert not pair.path.failures, case
            assert not any(is_alert(each) for _, _, each in pair.path.sent), case
            assert pair.client.statistics.rehandshakes == 0


class TestSources:
    def relay(self, pair, *, rounds=4, as_seen_by_client=SERVER, as_seen_by_server=CLIENT):
        """Pass datagrams by hand, under other addresses than the path's."""
        to_server = [
            each
            for each, _ in pair.client.start(
                "client", [pair.server_certificate.fingerprint()], SERVER, 0.0
            ).outgoing
        ]
        pair.server.start("server", [pair.client_certificate.fingerprint()], CLIENT, 0.0)
        destinations = set()
        for _ in range(rounds):
            results = [pair.server.on_datagram(x, as_seen_by_server, 0.1) for x in to_server]
            to_client = [x for each in results for x, _ in each.outgoing]
            results = [pair.client.on_datagram(x, as_seen_by_client, 0.1) for x in to_client]
            destinations |= {to for each in results for _, to in each.outgoing}
            to_server = [x for each in results for x, _ in each.outgoing]
        return destinations

    def test_a_client_behind_nat_is_found_by_its_certificate(self, pair):
        self.relay(pair, as_seen_by_server=NATTED)
        assert pair.server.source == NATTED
        pair.assert_media_flows()

    def test_a_server_behind_nat_is_followed_to_where_it_answers_from(self, pair):
        destinations = self.relay(pair, as_seen_by_client=NATTED)
        assert destinations == {NATTED}
        assert pair.client.source == NATTED
        pair.assert_media_flows()

    @pytest.mark.parametrize("end", ["client", "server"])
    def test_without_symmetric_media_only_the_signalled_address_counts(self, make_pair, end):
        pair = make_pair(symmetric=False)
        seen = {f"as_seen_by_{end}": NATTED}
        self.relay(pair, **seen)
        transport = getattr(pair, end)
        assert not transport.established
        assert transport.statistics.ignored == transport.statistics.datagrams_received > 0

    def test_handshakes_under_way_are_bounded_and_the_signalled_peer_gets_room(self, pair, hello):
        pair.start_server()
        strangers = [(f"203.0.113.{index}", 7) for index in range(10)]
        answered = [pair.server.on_datagram(hello(), each, 0.0).outgoing for each in strangers]
        assert sum(map(bool, answered)) == MAX_PROVISIONAL
        assert pair.server.statistics.ignored == 10 - MAX_PROVISIONAL
        pair.start_client()
        pair.run().assert_media_flows()
        assert pair.server.statistics.discarded == MAX_PROVISIONAL

    def test_a_stranger_that_never_answers_makes_room_after_a_while(self, pair, hello):
        pair.start_server()
        for index in range(MAX_PROVISIONAL):
            pair.server.on_datagram(hello(), ("203.0.113.1", index), 0.0)
        assert not pair.server.on_datagram(hello(), STRANGER, 1.9).outgoing
        assert pair.server.on_datagram(hello(), STRANGER, 2.0).outgoing

    def test_alerts_and_farewells_never_answer_a_stranger(self, pair, hostile_datagrams):
        pair.start_server()
        for datagram in hostile_datagrams.values():
            result = pair.server.on_datagram(datagram, STRANGER, 0.0)
            assert result.outgoing == ()
            assert result.failure is None


class TestIdentity:
    def test_a_wrong_certificate_at_the_signalled_address_ends_the_handshake_at_once(self, pair):
        pair.start_client()
        pair.start_server([pair.server_certificate.fingerprint()])
        pair.run(until=lambda path: path.failures)
        failure = pair.path.failures[SERVER]
        assert isinstance(failure, FingerprintMismatch)
        assert str(failure) == "remote certificate does not match fingerprint"
        assert failure.evidence["expected"] == [str(pair.server_certificate.fingerprint())]
        assert failure.evidence["received"] == [str(pair.client_certificate.fingerprint())]
        assert failure.evidence["peer"] == failure.evidence["source"] == CLIENT
        assert not pair.server.established
        assert repr(pair.server) == "<DtlsTransport server failed>"

    def test_after_a_failure_nothing_is_answered(self, pair, hello):
        pair.start_client()
        pair.start_server([pair.server_certificate.fingerprint()])
        pair.run(until=lambda path: path.failures)
        assert not pair.server.on_datagram(hello(), CLIENT, pair.path.now).outgoing

    def test_a_wrong_certificate_from_elsewhere_does_not_stop_the_peer(self, pair):
        impostor = DtlsTransport(pair.server_certificate)
        pair.path.ends[STRANGER] = impostor
        pair.path.keys[STRANGER] = []
        pair.start_server()
        expected = [pair.server_certificate.fingerprint()]
        pair.path.take(impostor.start("client", expected, SERVER, 0.0), STRANGER)
        pair.path.run(until=lambda _: pair.server.statistics.discarded == 1)
        assert not pair.path.failures
        pair.start_client()
        pair.path.run(until=lambda _: pair.server.established and pair.client.established)
        pair.assert_media_flows()
        assert pair.server.source == CLIENT

    def test_a_wrong_certificate_from_elsewhere_is_named_when_nobody_else_came(self, pair):
        pair.start_client()
        pair.start_server([pair.server_certificate.fingerprint()], remote=NATTED)
        pair.run(until=lambda path: path.failures)
        assert isinstance(pair.path.failures[SERVER], FingerprintMismatch)
        assert pair.path.failures[SERVER].evidence["source"] == CLIENT
        assert pair.path.now == pytest.approx(30.0)


class TestFailures:
    def test_silence_is_a_time_out_with_evidence(self, pair):
        pair.start_client()
        pair.path.ends = {CLIENT: pair.client}
        pair.run(seconds=31.0)
        failure = pair.path.failures[CLIENT]
        assert isinstance(failure, DtlsTimeout)
        assert str(failure) == "no DTLS handshake within 30 s"
        assert failure.evidence["peer"] == SERVER
        assert failure.evidence["datagrams_sent"] > 10
        assert failure.evidence["datagrams_received"] == 0
        assert failure.evidence["last_flight_sent"] == "ClientHello"
        assert failure.evidence["last_flight_received"] == ""
        assert pair.client.next_deadline() is None

    def test_a_server_nobody_calls_times_out_too(self, pair):
        pair.start_server()
        pair.run(until=lambda path: path.failures)
        assert isinstance(pair.path.failures[SERVER], DtlsTimeout)
        assert pair.path.failures[SERVER].evidence["role"] == "server"

    def test_a_client_hello_that_leads_to_nothing_is_in_the_evidence(self, pair, hello):
        pair.start_server()
        pair.server.on_datagram(hello(), CLIENT, 29.0)
        failure = pair.server.on_deadline(30.0).failure
        assert isinstance(failure, DtlsTimeout)
        assert failure.evidence["last_flight_received"] == "ClientHello"

    def test_no_suite_in_common_is_said_by_both_ends(self, dtls_path, dtls_certificates):
        pair = Pair(dtls_path, dtls_certificates)
        pair.server._suites = (SrtpSuite.AEAD_AES_256_GCM,)
        pair.client._suites = (SrtpSuite.AES_CM_128_HMAC_SHA1_80,)
        pair.start().run(until=lambda path: len(path.failures) == 2)
        for failure in pair.path.failures.values():
            assert isinstance(failure, DtlsHandshakeFailed)
            assert str(failure) == "no SRTP protection profile (use_srtp) in common"

    def test_a_failure_is_announced_only_when_the_peer_had_time_to_do_better(
        self, pair, hostile_datagrams
    ):
        pair.start_server()
        hostile = hostile_datagrams["ClientHello with the NULL suite"]
        assert not pair.server.on_datagram(hostile, CLIENT, 1.0).failure
        assert not pair.server.on_datagram(hostile, CLIENT, 1.5).failure
        assert pair.server.next_deadline() == 3.0
        result = pair.server.on_deadline(3.0)
        assert isinstance(result.failure, DtlsHandshakeFailed)
        assert str(result.failure) == "no cipher suite in common"
        assert [(is_alert(each), to) for each, to in result.outgoing] == [(True, CLIENT)]

    def test_a_failure_waits_while_another_handshake_is_under_way(
        self, pair, hello, hostile_datagrams
    ):
        pair.start_server()
        pair.server.on_datagram(hostile_datagrams["ClientHello with the NULL suite"], CLIENT, 1.0)
        pair.server.on_datagram(hello(), CLIENT, 2.0)
        assert not pair.server.on_deadline(3.0).failure
        assert not pair.server.on_deadline(5.0).failure
        assert isinstance(pair.server.on_deadline(30.0).failure, DtlsHandshakeFailed)

    def test_the_alert_of_a_server_is_believed_after_a_while(self, pair, dtls_record):
        pair.start_client()
        pair.client.on_datagram(dtls_record(21, b"\x02\x28"), SERVER, 0.5)
        assert not pair.client.on_deadline(2.4).failure
        failure = pair.client.on_deadline(2.5).failure
        assert isinstance(failure, DtlsHandshakeFailed)
        assert str(failure) == "peer sent alert handshake_failure"
        assert failure.evidence["alert"] == "handshake_failure"

    def test_a_client_tries_three_times_against_broken_answers(self, pair, broken_answer):
        (hello, _), *_ = pair.client.start(
            "client", [pair.server_certificate.fingerprint()], SERVER, 0.0
        ).outgoing
        for now in (1.0, 2.0):
            broken = broken_answer(hello)
            assert not pair.client.on_datagram(broken, SERVER, now).failure
            assert not pair.client.on_datagram(broken, SERVER, now).outgoing
            assert pair.client.next_deadline() == now + 0.5
            (hello, _), *_ = pair.client.on_deadline(now + 0.5).outgoing
        result = pair.client.on_datagram(broken_answer(hello), SERVER, 3.0)
        assert isinstance(result.failure, DtlsHandshakeFailed)
        assert pair.client.statistics.discarded == 3

    def test_a_stranger_breaks_a_client_once_at_most(self, pair, broken_answer):
        (hello, _), *_ = pair.client.start(
            "client", [pair.server_certificate.fingerprint()], SERVER, 0.0
        ).outgoing
        pair.client.on_datagram(broken_answer(hello), STRANGER, 1.0)
        (hello, _), *_ = pair.client.on_deadline(1.5).outgoing
        pair.client.on_datagram(broken_answer(hello), STRANGER, 2.0)
        assert pair.client.statistics.discarded == 1
        pair.path.now = 2.0
        pair.start()
        pair.run().assert_media_flows()


class TestAgain:
    def test_a_new_client_hello_from_the_peer_changes_the_keys_when_verified(self, pair):
        pair.start().run()
        old = pair.server.keys
        again = DtlsTransport(pair.client_certificate)
        pair.path.ends[CLIENT] = pair.client = again
        pair.start_client()
        pair.run(until=lambda path: path.delivered == 5)
        assert pair.server.keys is old
        pair.run(until=lambda path: len(path.keys[SERVER]) == 2)
        pair.run().assert_media_flows()
        assert pair.server.keys is pair.path.keys[SERVER][1] is not old
        assert pair.server.statistics.rehandshakes == 1

    def test_the_peer_may_come_back_from_another_address(self, pair):
        pair.start().run()
        pair.path.ends[NATTED] = pair.client = DtlsTransport(pair.client_certificate)
        pair.path.keys[NATTED] = []
        expected = [pair.server_certificate.fingerprint()]
        pair.path.take(pair.client.start("client", expected, SERVER, pair.path.now), NATTED)
        pair.run(until=lambda _: pair.client.established)
        assert pair.server.source == NATTED
        assert pair.server.statistics.rehandshakes == 1
        pair.assert_media_flows()

    def test_a_new_handshake_that_breaks_leaves_the_keys_alone(self, pair, hostile_datagrams):
        pair.start().run()
        keys = pair.server.keys
        for datagram in hostile_datagrams.values():
            for source in (CLIENT, STRANGER):
                result = pair.server.on_datagram(datagram, source, pair.path.now)
                assert not any(is_alert(each) for each, _ in result.outgoing)
                assert source == CLIENT or not result.outgoing
        pair.run(until=lambda _: False, seconds=60.0)
        assert pair.server.keys is keys
        assert not pair.path.failures
        assert pair.server.close().outgoing

    @pytest.mark.parametrize("role", ["client", "server"])
    def test_a_new_description_starts_a_new_association_in_either_role(self, pair, role):
        pair.start().run()
        fingerprint = [pair.client_certificate.fingerprint()]
        peer = [pair.server_certificate.fingerprint()]
        roles = ("client", "server") if role == "client" else ("server", "client")
        now = pair.path.now
        pair.path.take(pair.server.start(roles[0], fingerprint, CLIENT, now), SERVER)
        pair.path.take(pair.client.start(roles[1], peer, SERVER, now), CLIENT)
        pair.run(until=lambda path: [len(each) for each in path.keys.values()] == [2, 2])
        pair.assert_media_flows()
        assert pair.client.statistics.rehandshakes == pair.server.statistics.rehandshakes == 1

    def test_a_new_certificate_may_come_before_its_description(self, pair):
        pair.start().run()
        new = pair.server_certificate
        pair.path.ends[CLIENT] = pair.client = DtlsTransport(new)
        pair.start_client()
        pair.run(until=lambda _: pair.server.statistics.discarded == 1)
        assert not pair.path.failures
        assert pair.server.statistics.rehandshakes == 0
        now = pair.path.now
        result = pair.server.start("server", [new.fingerprint()], CLIENT, now)
        assert result.keys is pair.server.keys
        pair.path.take(result, SERVER)
        pair.run(until=lambda _: pair.client.established)
        pair.assert_media_flows()
        assert pair.server.statistics.rehandshakes == 1

    def test_another_peer_that_answers_the_same_offer_gets_keys_of_its_own(self, pair):
        pair.start().run()
        keys, now = pair.server.keys, pair.path.now
        other = pair.server_certificate
        pair.path.ends[CLIENT] = pair.client = DtlsTransport(other)
        pair.start_client()
        pair.run(until=lambda _: pair.server.statistics.discarded == 1)
        farewell = pair.server.forget_peer()
        assert [destination for _, destination in farewell.outgoing] == [CLIENT]
        assert not pair.server.established
        assert pair.server.source is None
        pair.path.take(pair.server.start("server", [other.fingerprint()], CLIENT, now), SERVER)
        pair.run(until=lambda _: pair.client.established)
        pair.assert_media_flows()
        assert pair.server.keys is not keys
        assert pair.server.statistics.rehandshakes == 0

    def test_another_peer_may_begin_while_the_one_before_is_waited_for(self, pair):
        pair.start_server([pair.server_certificate.fingerprint()], remote=NATTED)
        pair.start_client()
        pair.run(until=lambda _: pair.server.statistics.discarded == 1)
        assert not pair.server.forget_peer().outgoing
        expected = [pair.client_certificate.fingerprint()]
        result = pair.server.start("server", expected, CLIENT, pair.path.now)
        pair.path.take(result, SERVER)
        pair.run(until=lambda _: pair.client.established)
        pair.assert_media_flows()

    def test_a_new_description_that_nobody_follows_fails_and_the_keys_stay(self, pair):
        pair.start().run()
        keys, now = pair.server.keys, pair.path.now
        pair.server.start("server", [pair.client_certificate.fingerprint()], CLIENT, now)
        failure = pair.server.on_deadline(now + 30.0).failure
        assert isinstance(failure, DtlsTimeout)
        assert pair.server.keys is keys
        assert repr(pair.server) == "<DtlsTransport server established>"

    @pytest.mark.parametrize("asking", ["client", "server"])
    def test_an_answer_may_begin_the_association_before_it_arrives(
        self, pair, asking, dtls_certificates
    ):
        pair.start().run()
        end, place, other, there = pair.server, SERVER, pair.client, CLIENT
        if asking == "client":
            end, place, other, there = pair.client, CLIENT, pair.server, SERVER
        renewed, keys = DtlsCertificate.generate(datetime.now(UTC)), end.keys
        end.renew(renewed)
        end.renew(renewed)
        theirs = dtls_certificates[asking == "client"].fingerprint()
        result = other.start("client", [renewed.fingerprint()], place, pair.path.now)
        pair.path.take(result, there)
        pair.run(until=lambda _: other.statistics.rehandshakes == 1)
        # Our end waits for the fingerprint that the answer has.
        assert end.keys is keys
        pair.path.take(end.start("server", [theirs], there, pair.path.now), place)
        assert end.statistics.rehandshakes == 1
        pair.assert_media_flows()
        end.withdraw()
        assert end.keys is not keys

    def test_a_description_that_is_withdrawn_leaves_everything_as_it_was(self, pair, hello):
        pair.start().run()
        end, keys = pair.client, pair.client.keys
        end.withdraw()
        end.renew(DtlsCertificate.generate(datetime.now(UTC)))
        assert end.on_datagram(hello(), SERVER, pair.path.now).outgoing
        end.withdraw()
        assert end.statistics.discarded == 1
        assert end.keys is keys
        assert repr(end) == "<DtlsTransport client established>"
        assert not end.on_datagram(hello(), STRANGER, pair.path.now).outgoing

    def test_a_handshake_that_was_broken_off_is_told_from_one_under_way(self, pair, dtls_record):
        pair.start_client()
        assert not pair.client.broken_off
        alert = dtls_record(21, b"\x02\x28")
        pair.client.on_datagram(alert, SERVER, pair.path.now)
        assert pair.client.broken_off

    def test_a_handshake_that_failed_was_broken_off(self, pair):
        pair.start_client()
        pair.client.on_deadline(30.0)
        assert pair.client.broken_off

    def test_a_handshake_nobody_asked_for_ends_by_itself(self, pair, hello):
        pair.start().run()
        now = pair.path.now
        assert pair.server.on_datagram(hello(), STRANGER, now).outgoing
        assert pair.server.on_deadline(now + 30.0).failure is None
        assert pair.server.statistics.discarded == 1
        assert pair.server.next_deadline() is None


class TestCorruption:
    def test_corrupted_datagrams_raise_nothing_and_never_lead_to_different_keys(self, make_pair):
        established = 0
        for seed in range(500 if LONG else 40):
            corruption = random.Random(seed)
            pair = make_pair().start()
            while not pair.path.established and pair.path.now < 40.0:
                if not pair.path.step():
                    break
                for index, entry in enumerate(pair.path._under_way):
                    if entry[0] > pair.path.now and corruption.random() < 0.1:
                        octets = bytearray(entry[2])
                        octets[corruption.randrange(len(octets))] ^= 1 << corruption.randrange(8)
                        pair.path._under_way[index] = (*entry[:2], bytes(octets), *entry[3:])
            if pair.path.established:
                established += 1
                assert pair.client.keys.send == pair.server.keys.receive
                assert pair.client.keys.receive == pair.server.keys.send
        assert established


class TestRenegotiation:
    @staticmethod
    def ask(pair, end, address):
        association = end._current.association
        association._connection.renegotiate()
        association._connection.do_handshake() if end is pair.server else association._advance()
        for datagram in association._collect(pair.path.now):
            other = SERVER if address == CLIENT else CLIENT
            pair.path.forge(datagram, address, other)

    @pytest.mark.parametrize("asking", ["client", "server"])
    def test_it_counts_as_a_rehandshake_and_gives_new_keys(self, make_pair, asking):
        pair = make_pair(renegotiation=True).start().run()
        before = pair.client.keys, pair.server.keys
        for number in (1, 2):
            self.ask(pair, getattr(pair, asking), CLIENT if asking == "client" else SERVER)
            pair.run(
                until=lambda _, n=number: (
                    pair.client.statistics.rehandshakes == pair.server.statistics.rehandshakes == n
                )
            )
            pair.assert_media_flows()
        assert len(pair.path.keys[CLIENT]) == len(pair.path.keys[SERVER]) == 3
        assert not set(before) & {pair.client.keys, pair.server.keys}
        assert pair.client.statistics.rehandshakes == pair.server.statistics.rehandshakes == 2
        assert not pair.path.failures
        assert pair.client.next_deadline() is pair.server.next_deadline() is None

    def test_another_certificate_is_told_once_and_the_keys_stay(self, make_pair):
        pair = make_pair(renegotiation=True).start().run()
        before = pair.server.keys
        current = pair.client._current.association._connection
        other = DtlsCertificate.generate(datetime.now(UTC))
        current.use_certificate(other._certificate)
        current.use_privatekey(other._private_key)
        self.ask(pair, pair.client, CLIENT)
        pair.run(until=lambda path: SERVER in path.failures)
        failure = pair.path.failures.pop(SERVER)
        assert isinstance(failure, FingerprintMismatch)
        assert failure.evidence["source"] == CLIENT
        assert failure.evidence["peer"] == CLIENT
        assert pair.server.keys is before
        assert pair.server.statistics.rehandshakes == 0
        # With the end of the handshake before it, or the peer could not read it.
        assert [each.content for each in records(pair.path.sent[-1][2])] == [20, 22, 21]
        sent = len(pair.path.sent)
        pair.path.forge(bytes([21]) + bytes(30), CLIENT, SERVER)
        assert SERVER not in pair.path.failures
        assert pair.server.close().outgoing == ()
        assert len(pair.path.sent) == sent
