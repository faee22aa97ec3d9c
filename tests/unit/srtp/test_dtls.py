from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL

from callmeter.config import DEFAULT_SUITES, SrtpSuite
from callmeter.errors import DtlsHandshakeFailed, DtlsTimeout, FingerprintMismatch
from callmeter.sdp.attributes import Fingerprint
from callmeter.srtp import dtls
from callmeter.srtp.dtls import DtlsAssociation
from callmeter.srtp.protection_profiles import SUPPORTED, for_suite

BY_DTLS = [each for each in SUPPORTED if each.dtls_id]


def altered(fingerprint, position=-1):
    octets = bytearray(fingerprint.digest)
    octets[position] ^= 1
    return replace(fingerprint, value=octets.hex(":").upper())


class Ends:
    """Client and server, joined without a network."""

    def __init__(self, certificates, *, client=(), server=(), **settings):
        self.of_client, self.of_server = certificates
        self.client = DtlsAssociation(
            self.of_client,
            role="client",
            **{"fingerprints": [self.of_server.fingerprint()], **settings, **dict(client)},
        )
        self.server = DtlsAssociation(
            self.of_server,
            role="server",
            **{"fingerprints": [self.of_client.fingerprint()], **settings, **dict(server)},
        )

    def exchange(self, now=0.0, *, flights=9, to_server=None):
        """Let the ends talk; returns what would be said next."""
        if to_server is None:
            self.server.start(now)
            to_server = self.client.start(now)
        pending = to_server
        for flight in range(flights):
            end = self.client if flight % 2 else self.server
            pending = [each for datagram in pending for each in end.on_datagram(datagram, now)]
        return pending


@pytest.fixture
def make_ends(dtls_certificates):
    return lambda **settings: Ends(dtls_certificates, **settings)


class TestKeys:
    @pytest.mark.parametrize("profile", BY_DTLS, ids=lambda each: each.name)
    def test_every_profile_of_dtls_gives_keys_of_its_length(self, make_ends, profile):
        ends = make_ends(suites=[profile.suite])
        ends.exchange()
        client, server = ends.client.keys, ends.server.keys
        assert client.profile is server.profile is profile
        assert client.send == server.receive
        assert client.receive == server.send
        assert client.send != client.receive
        assert len(client.send.key_and_salt) == profile.master_length

    def test_the_server_takes_the_first_suite_of_the_client_that_it_has(self, make_ends):
        order = (SrtpSuite.AEAD_AES_128_GCM, SrtpSuite.AES_CM_128_HMAC_SHA1_32)
        ends = make_ends(client={"suites": order})
        ends.exchange()
        assert ends.client.keys.profile.suite is ends.server.keys.profile.suite
        assert ends.server.keys.profile.suite in order

    def test_suites_without_a_number_in_use_srtp_are_left_out(self, make_ends):
        suites = (SrtpSuite.AES_256_CM_HMAC_SHA1_80, SrtpSuite.AEAD_AES_256_GCM)
        ends = make_ends(suites=suites)
        ends.exchange()
        assert ends.client.keys.profile is for_suite(SrtpSuite.AEAD_AES_256_GCM)

    def test_no_key_is_in_any_repr(self, make_ends):
        ends = make_ends()
        states = [repr(ends.client)]
        ends.exchange()
        states.append(repr(ends.client))
        assert states == [
            "<DtlsAssociation client handshaking>",
            "<DtlsAssociation client established>",
        ]
        key = ends.client.keys.send.key_and_salt
        assert repr(key) not in repr(ends.client.keys)
        assert key.hex() not in repr(ends.client.keys)


class TestFlights:
    def test_a_handshake_takes_four_datagrams_that_fit_the_mtu(self, make_ends):
        ends = make_ends()
        ends.exchange()
        assert ends.client.datagrams_sent == ends.server.datagrams_sent == 2
        assert ends.client.last_flight_sent == (
            "Certificate, ClientKeyExchange, CertificateVerify, ChangeCipherSpec, Finished"
        )
        assert ends.client.last_flight_received == "ChangeCipherSpec, Finished"

    def test_a_client_hello_is_short(self, make_ends):
        assert len(make_ends().client.start(0.0)[0]) < 300

    def test_a_small_mtu_is_kept(self, make_ends):
        ends = make_ends(mtu=300)
        ends.server.start(0.0)
        flight = [
            each for hello in ends.client.start(0.0) for each in ends.server.on_datagram(hello, 0.0)
        ]
        assert len(flight) > 1
        assert max(map(len, flight)) <= 300
        pending = [each for datagram in flight for each in ends.client.on_datagram(datagram, 0.0)]
        assert max(map(len, pending)) <= 300
        ends.exchange(to_server=pending)
        assert ends.client.established
        assert ends.server.established

    def test_datagrams_may_come_in_any_order_and_twice(self, make_ends):
        for order in itertools.permutations(range(3)):
            ends = make_ends(mtu=300)
            ends.server.start(0.0)
            pending, end, other = ends.client.start(0.0), ends.server, ends.client
            now = 0.0
            while pending:
                shuffled = [pending[each] for each in order if each < len(pending)]
                shuffled += pending[len(order) :]
                pending = [
                    each for datagram in shuffled * 2 for each in end.on_datagram(datagram, now)
                ]
                end, other = other, end
            for _ in range(20):
                now += 2.0
                for one, two in ((ends.client, ends.server), (ends.server, ends.client)):
                    for datagram in one.on_deadline(now):
                        for reply in two.on_datagram(datagram, now):
                            one.on_datagram(reply, now)
            assert ends.client.established, order
            assert ends.server.established, order

    def test_a_flight_is_sent_again_with_growing_pauses_and_new_numbers(self, make_ends):
        client = make_ends().client
        sent = client.start(0.0)
        times = []
        while (due := client.next_deadline()) < 8.0:
            again = client.on_deadline(due)
            if again:
                times.append(due)
                sent += again
        assert times[:5] == pytest.approx([0.25, 0.75, 1.75, 3.75, 5.75])
        assert [each[10] for each in sent] == list(range(len(sent)))
        assert {each[:10] + each[11:] for each in sent} == {sent[0][:10] + sent[0][11:]}

    def test_a_server_that_is_done_repeats_its_last_flight_when_asked(self, make_ends):
        ends = make_ends()
        finished = ends.exchange(flights=2)
        first = ends.exchange(to_server=finished, flights=1)
        assert ends.server.established
        again = ends.exchange(now=0.3, to_server=finished, flights=1)
        assert len(again) == len(first) == 1
        assert not ends.exchange(now=0.31, to_server=finished, flights=1)
        for datagram in again:
            ends.client.on_datagram(datagram, 0.4)
        assert ends.client.keys.send == ends.server.keys.receive

    def test_a_server_repeats_its_first_flight_for_a_repeated_client_hello(self, make_ends):
        ends = make_ends()
        ends.server.start(0.0)
        hello = ends.client.start(0.0)
        assert ends.exchange(0.0, to_server=hello, flights=1)
        ends.server.hold_back()
        assert ends.server.next_deadline() > 0.9
        assert ends.exchange(0.3, to_server=ends.client.on_deadline(0.3), flights=1)

    def test_another_client_hello_is_not_for_this_association(self, make_ends):
        ends, other = make_ends(), make_ends()
        ends.exchange(flights=1)
        assert not ends.exchange(1.0, to_server=other.client.start(0.0), flights=1)
        assert ends.server.hello is not None

    def test_the_clock_of_openssl_sends_again_what_only_it_can(self, make_ends, monkeypatch):
        client = make_ends().client
        client.start(0.0)
        due = client._openssl_at
        assert due == pytest.approx(1.0, abs=0.05)
        hello = list(client._flight)
        assert client.on_deadline(0.25)
        # In virtual time its own clock says that nothing is due yet.
        assert len(client.on_deadline(due)) == 1
        assert client._openssl_at > due + 0.5
        written = [each.octets for each in hello]

        def read(_size):
            if written:
                return written.pop()
            raise SSL.WantReadError

        monkeypatch.setattr(client._connection, "bio_read", read)
        monkeypatch.setattr(client._connection, "DTLSv1_handle_timeout", lambda: True)
        pause = client._interval
        assert len(client.on_deadline(client._openssl_at)) == 1
        assert client._interval >= pause
        assert not client.answered

    def test_too_many_time_outs_of_openssl_are_a_failure(self, make_ends, monkeypatch):
        client = make_ends().client
        client.start(0.0)

        def fail():
            raise SSL.Error([("SSL routines", "", "read timeout expired")])

        monkeypatch.setattr(client._connection, "DTLSv1_handle_timeout", fail)
        assert client.on_deadline(1.0) == []
        assert str(client.failure) == "read timeout expired"


class TestFingerprints:
    def test_all_of_sha_2_and_several_at_once_are_accepted(self, make_ends, dtls_certificates):
        own = dtls_certificates[1]
        for algorithms in (
            ["sha-256"],
            ["sha-384"],
            ["sha-512"],
            ["sha-512", "sha-224"],
            ["sha-256", "sha-384", "sha-512"],
        ):
            ends = make_ends(client={"fingerprints": [own.fingerprint(x) for x in algorithms]})
            ends.exchange()
            assert ends.client.established

    def test_hashes_that_are_not_understood_do_not_count(self, make_ends, dtls_certificates):
        good = dtls_certificates[1].fingerprint()
        odd = [Fingerprint("sha-1", ":".join(["AA"] * 20)), Fingerprint("sha3-256", "AA:BB")]
        ends = make_ends(client={"fingerprints": [*odd, good]})
        ends.exchange()
        assert ends.client.established

    @pytest.mark.parametrize("end", ["client", "server"])
    @pytest.mark.parametrize(
        "row",
        [
            "last bit of sha-256",
            "first bit of sha-256",
            "sha-384",
            "sha-512",
            "fingerprint of another certificate",
            "own fingerprint",
            "good sha-256, bad sha-512",
            "bad sha-256, good sha-512",
            "good and bad sha-256",
            "sha-1 alone",
            "md5 alone",
            "none",
        ],
    )
    def test_whatever_does_not_match_is_refused(self, make_ends, dtls_certificates, row, end):
        peer, own = dtls_certificates if end == "server" else dtls_certificates[::-1]
        good, long = peer.fingerprint(), peer.fingerprint("sha-512")
        given = {
            "last bit of sha-256": [altered(good)],
            "first bit of sha-256": [altered(good, 0)],
            "sha-384": [altered(peer.fingerprint("sha-384"))],
            "sha-512": [altered(long)],
            "fingerprint of another certificate": [own.fingerprint()],
            "own fingerprint": [own.fingerprint(), own.fingerprint("sha-512")],
            "good sha-256, bad sha-512": [good, altered(long)],
            "bad sha-256, good sha-512": [altered(good), long],
            "good and bad sha-256": [good, altered(good)],
            "sha-1 alone": [Fingerprint("sha-1", ":".join(["AA"] * 20))],
            "md5 alone": [Fingerprint("md5", ":".join(["AA"] * 16))],
            "none": [],
        }[row]
        ends = make_ends(**{end: {"fingerprints": given}})
        ends.exchange()
        refusing = getattr(ends, end)
        assert isinstance(refusing.failure, FingerprintMismatch)
        assert str(refusing.failure).startswith("remote certificate does not match fingerprint")
        assert refusing.failure.evidence["expected"] == [str(each) for each in given]
        assert str(good) in refusing.failure.evidence["received"]
        assert refusing.keys is None
        assert not refusing.established
        assert repr(refusing) == f"<DtlsAssociation {end} failed>"

    def test_what_is_needed_is_named_where_no_hash_is_good_enough(self, make_ends):
        weak = [Fingerprint("sha-1", ":".join(["AA"] * 20)), Fingerprint("md5", "AA:BB")]
        for given, names in ((weak, "md5, sha-1"), ([], "none")):
            ends = make_ends(client={"fingerprints": given})
            ends.exchange()
            assert str(ends.client.failure).endswith(
                f": sha-256, sha-384 or sha-512 is needed, given is {names}"
            )

    def test_fingerprints_may_come_after_the_handshake(self, make_ends, dtls_certificates):
        ends = make_ends(server={"fingerprints": None})
        ends.exchange()
        assert ends.server.complete
        assert not ends.server.established
        assert ends.server.next_deadline() is None
        ends.server.expect([dtls_certificates[0].fingerprint()], 1.0)
        assert ends.server.established
        keys = ends.server.keys
        assert ends.server.expect([dtls_certificates[0].fingerprint()], 2.0) == []
        assert ends.server.keys is keys

    def test_fingerprints_may_come_before_the_handshake(self, make_ends, dtls_certificates):
        ends = make_ends(server={"fingerprints": None})
        ends.server.expect([dtls_certificates[0].fingerprint()], 0.0)
        ends.exchange()
        assert ends.server.established

    def test_a_mismatch_is_judged_again_by_new_fingerprints(self, make_ends, dtls_certificates):
        ends = make_ends(server={"fingerprints": [dtls_certificates[1].fingerprint()]})
        ends.exchange()
        assert ends.server.failure
        finished = ends.server.expect([dtls_certificates[0].fingerprint()], 1.0)
        assert ends.server.failure is None
        for datagram in finished:
            ends.client.on_datagram(datagram, 1.1)
        assert ends.client.keys.send == ends.server.keys.receive

    def test_the_fingerprint_of_the_peer_is_shown(self, make_ends, dtls_certificates):
        ends = make_ends()
        assert ends.client.remote_fingerprint() is None
        ends.exchange()
        assert ends.client.remote_fingerprint() == dtls_certificates[1].fingerprint()
        assert ends.client.remote_fingerprint("sha-1") is None


class TestFailures:
    def test_a_time_out_tells_what_was_sent_and_received(self, make_ends):
        client = make_ends(timeout=5.0).client
        client.start(10.0)
        while client.failure is None:
            client.on_deadline(client.next_deadline())
        assert isinstance(client.failure, DtlsTimeout)
        assert str(client.failure) == "no DTLS handshake within 5 s"
        assert client.failure.evidence == {
            "role": "client",
            "datagrams_sent": client.datagrams_sent,
            "datagrams_received": 0,
            "last_flight_sent": "ClientHello",
            "last_flight_received": "",
        }
        assert client.datagrams_sent >= 4
        assert client.next_deadline() is None
        assert client.on_deadline(99.0) == client.on_datagram(b"", 99.0) == []
        assert client.farewell() == []

    def test_no_suite_in_common_is_named_and_the_peer_is_told_on_demand(self, make_ends):
        ends = make_ends(
            client={"suites": [SrtpSuite.AEAD_AES_128_GCM]},
            server={"suites": [SrtpSuite.AES_CM_128_HMAC_SHA1_80]},
        )
        ends.exchange()
        assert str(ends.server.failure) == "no SRTP protection profile (use_srtp) in common"
        parting = ends.server.farewell()
        assert parting
        assert ends.server.farewell() == []
        for datagram in parting:
            ends.client.on_datagram(datagram, 0.0)
        assert str(ends.client.failure) == "no SRTP protection profile (use_srtp) in common"

    def test_a_handshake_that_showed_no_certificate_gives_no_keys(self, make_ends, monkeypatch):
        ends = make_ends()
        monkeypatch.setattr(ends.client._connection, "get_peer_certificate", lambda **_: None)
        ends.exchange()
        assert str(ends.client.failure) == "peer sent no certificate"
        assert ends.client.keys is None

    def test_a_certificate_that_cannot_be_parsed_gives_no_keys(self, make_ends, monkeypatch):
        def fail(**_):
            raise ValueError("invalid version")

        ends = make_ends()
        monkeypatch.setattr(ends.client._connection, "get_peer_certificate", fail)
        ends.exchange()
        assert str(ends.client.failure) == "peer sent a certificate that cannot be parsed"
        assert ends.client.keys is None

    def test_a_client_hello_of_a_later_handshake_is_not_taken_for_the_first(
        self, make_ends, dtls_record, dtls_message
    ):
        server = make_ends().server
        server.start(0.0)
        body = b"\xfe\xfd" + bytes(60)
        for sequence, offset in ((1, 0), (0, 40)):
            part = dtls_message(1, body, sequence=sequence, offset=offset, length=200)
            assert server.on_datagram(dtls_record(22, part), 0.0) == []
            assert server.hello is None
        server.on_datagram(dtls_record(22, dtls_message(11, b"certificate")), 0.0)
        assert server.failure is None

    def test_another_client_hello_before_the_answer_is_not_mixed_in(
        self, make_ends, dtls_record, dtls_message
    ):
        server = make_ends().server
        server.start(0.0)
        for number in (1, 2):
            part = dtls_message(1, b"\xfe\xfd" + bytes([number]) * 32, length=200)
            server.on_datagram(dtls_record(22, part), 0.0)
        assert server.hello == bytes([1]) * 32

    def test_an_association_without_failure_has_no_farewell(self, make_ends):
        ends = make_ends()
        ends.exchange()
        assert ends.client.farewell() == []

    def test_a_forged_alert_is_contradicted_by_the_next_flight(self, make_ends, dtls_record):
        ends = make_ends()
        flight = ends.exchange(flights=1)
        for number in (b"\x02\x28", b"\x02\x0a"):
            ends.client.on_datagram(dtls_record(21, number), 0.1)
        for datagram in flight:
            assert ends.client.on_datagram(datagram, 0.2)
        ends.client.on_deadline(5.0)
        assert ends.client.failure is None

    def test_an_alert_that_nothing_contradicts_is_the_reason(self, make_ends, dtls_record):
        client = make_ends().client
        client.start(0.0)
        client.on_datagram(dtls_record(21, b"\x02\x46"), 0.1)
        client.on_deadline(2.1)
        assert isinstance(client.failure, DtlsHandshakeFailed)
        assert str(client.failure) == "peer sent alert protocol_version"

    @pytest.mark.parametrize(
        ("reasons", "words"),
        [
            (["no shared cipher"], "no cipher suite in common"),
            (
                ["internal error", "no suitable signature algorithm"],
                "no signature algorithm in common",
            ),
            (["ssl/tls alert handshake failure"], "peer sent alert handshake_failure"),
            (["tlsv1 alert unknown ca"], "peer sent alert unknown_ca"),
            (["something new"], "something new"),
        ],
    )
    def test_errors_of_openssl_are_put_in_plain_words(self, reasons, words):
        assert dtls._in_words(SSL.Error([("SSL routines", "", each) for each in reasons])) == words

    def test_an_error_without_reasons_has_words_too(self):
        assert dtls._in_words(SSL.SysCallError(-1, "Unexpected EOF")) == "the handshake broke off"
        assert dtls._in_words(SSL.Error()) == "the handshake broke off"


class TestEnd:
    def test_close_notify_reaches_the_peer(self, make_ends):
        ends = make_ends()
        ends.exchange()
        (farewell,) = ends.client.close()
        assert ends.server.on_datagram(farewell, 1.0) == []
        assert ends.server.peer_closed
        assert ends.server.established
        assert ends.client.close() == []
        assert ends.client.next_deadline() is None
        assert ends.client.on_datagram(farewell, 2.0) == []

    def test_an_unfinished_handshake_is_closed_in_silence(self, make_ends):
        client = make_ends().client
        client.start(0.0)
        assert client.close() == []
        assert client.on_deadline(1.0) == []

    def test_nothing_hurts_an_established_association(self, make_ends, hostile_datagrams):
        ends = make_ends()
        ends.exchange()
        for end in (ends.client, ends.server):
            keys = end.keys
            for datagram in hostile_datagrams.values():
                end.on_datagram(datagram, 1.0)
            assert end.keys is keys
            assert end.failure is None
            assert not end.peer_closed
        (farewell,) = ends.client.close()
        ends.server.on_datagram(farewell, 2.0)
        assert ends.server.peer_closed

    def test_a_broken_connection_after_the_handshake_is_not_a_failure(self, make_ends, monkeypatch):
        ends = make_ends()
        ends.exchange()

        def fail(_size=0):
            raise SSL.Error([("SSL routines", "", "bad")])

        monkeypatch.setattr(ends.server._connection, "recv", fail)
        monkeypatch.setattr(ends.server._connection, "shutdown", fail)
        ends.server.on_datagram(ends.client.close()[0], 1.0)
        assert ends.server.failure is None
        assert ends.server.close() == []


class RawPeer:
    """The other end, by pyOpenSSL alone."""

    def __init__(
        self,
        *,
        client,
        key=None,
        profiles=b"SRTP_AES128_CM_SHA1_80",
        ciphers=None,
        certificate=True,
    ):
        context = SSL.Context(SSL.DTLS_METHOD)
        if certificate:
            key = key or ec.generate_private_key(ec.SECP256R1())
            self.certificate = self.issue(key)
            context.use_certificate(self.certificate)
            context.use_privatekey(key)
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        if profiles:
            context.set_tlsext_use_srtp(profiles)
        if ciphers:
            context.set_cipher_list(ciphers)
        self.connection = SSL.Connection(context)
        self.connection.set_ciphertext_mtu(1200)
        if client:
            self.connection.set_connect_state()
        else:
            self.connection.set_accept_state()
        self.error = None

    @staticmethod
    def issue(key):
        name = x509.Name([])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
        builder = builder.public_key(key.public_key()).serial_number(1)
        builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
        return builder.sign(key, hashes.SHA256())

    @property
    def fingerprint(self):
        digest = self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()
        return Fingerprint("sha-256", digest)

    def take(self, datagrams):
        for datagram in [*datagrams, None]:
            if datagram is not None:
                self.connection.bio_write(datagram)
            try:
                self.connection.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                self.error = error
        try:
            return [self.connection.bio_read(65_536)]
        except SSL.WantReadError:
            return []

    def talk(self, association):
        to_us = self.take([])
        to_peer = association.start(0.0)
        for _ in range(6):
            to_peer += [x for each in to_us for x in association.on_datagram(each, 0.0)]
            to_us, to_peer = self.take(to_peer), []
        return association

    def read(self, datagrams):
        """What comes in once the handshake is over, and what is said to it."""
        for datagram in [*datagrams, None]:
            if datagram is not None:
                self.connection.bio_write(datagram)
            try:
                self.connection.recv(65_536)
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                self.error = self.error or error
        try:
            return [self.connection.bio_read(65_536)]
        except SSL.WantReadError:
            return []

    def renegotiate(self, association, *, flights=6):
        """Returns the datagrams of the association."""
        self.connection.renegotiate()
        to_us, said = self.take([]), []
        for _ in range(flights):
            to_peer = [x for each in to_us for x in association.on_datagram(each, 0.0)]
            said += to_peer
            to_us = self.read(to_peer)
        return said

    def exported(self, profile):
        secret = self.connection.export_keying_material(
            b"EXTRACTOR-dtls_srtp", 2 * profile.master_length
        )
        key = profile.key_length
        salts = secret[2 * key :]
        return (
            secret[:key] + salts[: profile.salt_length],
            secret[key : 2 * key] + salts[profile.salt_length :],
        )


@pytest.fixture(params=["client", "server"])
def talking(request, dtls_certificates):
    """Makes an association in either role and its peer, after their handshake."""

    def make(**settings):
        peer = RawPeer(client=request.param == "server")
        association = DtlsAssociation(
            dtls_certificates[0],
            role=request.param,
            fingerprints=[peer.fingerprint],
            **settings,
        )
        assert peer.talk(association).established
        return association, peer

    return make


class TestRenegotiation:
    def test_it_is_refused_by_a_warning_and_the_keys_go_on(self, talking):
        association, peer = talking()
        keys = association.keys
        (warning,) = peer.renegotiate(association)
        assert warning[0] == 21
        # It reads the warning, and takes it for the end of what it wanted.
        assert "no renegotiation" in str(peer.error)
        assert association.keys is keys
        assert not association.failure
        assert association.next_deadline() is None

    def test_the_keys_after_it_are_those_of_the_peer(self, talking):
        association, peer = talking(renegotiation=True)
        seen = {association.keys}
        for _ in range(3):
            peer.renegotiate(association)
            keys = association.keys
            client, server = peer.exported(keys.profile)
            ours, theirs = (client, server) if association.role == "client" else (server, client)
            assert (keys.send.key_and_salt, keys.receive.key_and_salt) == (ours, theirs)
            seen.add(keys)
        assert len(seen) == 4
        assert not association.failure
        assert not peer.error
        assert association.next_deadline() is None

    def test_the_keys_stay_while_it_is_under_way(self, talking):
        association, peer = talking(renegotiation=True)
        keys = association.keys
        assert peer.renegotiate(association, flights=1)
        assert association.keys is keys
        assert association.next_deadline() is not None

    def test_another_certificate_is_refused_and_brings_no_keys(self, talking):
        association, peer = talking(renegotiation=True)
        keys = association.keys
        key = ec.generate_private_key(ec.SECP256R1())
        other = peer.issue(key)
        peer.connection.use_certificate(other)
        peer.connection.use_privatekey(key)
        peer.renegotiate(association)
        assert isinstance(association.failure, FingerprintMismatch)
        assert association.failure.evidence["expected"] == [str(peer.fingerprint)]
        digest = other.fingerprint(hashes.SHA256()).hex(":").upper()
        assert association.failure.evidence["received"] == [f"sha-256 {digest}"]
        assert association.keys is keys
        peer.read(association.farewell())
        assert isinstance(peer.error, SSL.ZeroReturnError)

    def test_what_somebody_else_says_in_clear_starts_none(
        self, talking, dtls_record, dtls_message, hostile_datagrams
    ):
        association, peer = talking(renegotiation=True)
        keys = association.keys
        request = dtls_record(22, dtls_message(0, b""))
        for datagram in (request, *hostile_datagrams.values()):
            association.on_datagram(datagram, 0.0)
        assert association.keys is keys
        peer.renegotiate(association)
        assert association.keys is not keys


class TestIndependentPeer:
    def test_raw_openssl_derives_the_same_keys(self, dtls_certificates):
        for profile, ours in itertools.product(BY_DTLS, ("client", "server")):
            peer = RawPeer(client=ours == "server", profiles=profile.openssl_name.encode())
            association = DtlsAssociation(
                dtls_certificates[0],
                role=ours,
                fingerprints=[peer.fingerprint],
                suites=[each.suite for each in BY_DTLS],
            )
            keys = peer.talk(association).keys
            key, salt = profile.key_length, profile.salt_length
            secret = peer.connection.export_keying_material(
                b"EXTRACTOR-dtls_srtp", 2 * (key + salt), None
            )
            halves = [
                secret[:key] + secret[2 * key : 2 * key + salt],
                secret[key : 2 * key] + secret[2 * key + salt :],
            ]
            if ours == "server":
                halves.reverse()
            assert keys.profile is profile
            assert [keys.send.key_and_salt, keys.receive.key_and_salt] == halves

    @pytest.mark.parametrize("ours", ["client", "server"])
    @pytest.mark.parametrize("ciphers", [b"ECDHE+AES+SHA1", b"ECDHE+AES256+AESGCM"])
    def test_old_ciphers_and_rsa_certificates_are_fine(self, dtls_certificates, ours, ciphers):
        key = rsa.generate_private_key(65_537, 2_048)
        peer = RawPeer(client=ours == "server", key=key, ciphers=ciphers)
        association = DtlsAssociation(
            dtls_certificates[0], role=ours, fingerprints=[peer.fingerprint]
        )
        assert peer.talk(association).established

    @pytest.mark.parametrize("ours", ["client", "server"])
    def test_a_peer_without_use_srtp_is_refused(self, dtls_certificates, ours):
        peer = RawPeer(client=ours == "server", profiles=b"")
        association = DtlsAssociation(
            dtls_certificates[0], role=ours, fingerprints=[peer.fingerprint]
        )
        peer.talk(association)
        assert str(association.failure) == "no SRTP protection profile (use_srtp) in common"

    def test_a_client_without_certificate_is_refused(self, dtls_certificates):
        peer = RawPeer(client=True, certificate=False)
        association = DtlsAssociation(
            dtls_certificates[0], role="server", fingerprints=[dtls_certificates[0].fingerprint()]
        )
        peer.talk(association)
        assert str(association.failure) == "peer sent no certificate"
        (alert,) = association.farewell()
        assert alert[0] == 21

    def test_a_server_without_a_common_cipher_says_so_by_alert(self, dtls_certificates):
        peer = RawPeer(client=False, ciphers=b"DHE+AESGCM")
        association = DtlsAssociation(
            dtls_certificates[0], role="client", fingerprints=[peer.fingerprint]
        )
        peer.talk(association)
        association.on_deadline(2.0)
        assert str(association.failure) == "peer sent alert handshake_failure"

    def test_the_suites_of_the_default_are_offered(self, dtls_certificates):
        peer = RawPeer(client=False, profiles=b"SRTP_AEAD_AES_128_GCM")
        association = DtlsAssociation(
            dtls_certificates[0], role="client", fingerprints=[peer.fingerprint]
        )
        assert peer.talk(association).keys.profile.suite is DEFAULT_SUITES[2]


def test_secrets_are_given_to_who_asked_for_them_and_to_nobody_else(dtls_certificates):
    logs = [], []
    ends = Ends(
        dtls_certificates, client={"key_log": logs[0].append}, server={"key_log": logs[1].append}
    )
    ends.exchange()
    assert ends.client.established
    # Both ends know the same master secret, and say it once (NSS key log format).
    assert logs[0] == logs[1]
    (line,) = logs[0]
    label, random, secret = line.split()
    assert (label, len(random), len(secret)) == (b"CLIENT_RANDOM", 64, 96)
    again = Ends(dtls_certificates, client={"key_log": logs[0].append})
    again.exchange()
    assert (len(logs[0]), len(logs[1])) == (2, 1)
