from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.config import Credentials
from callmeter.errors import ConfigurationError
from callmeter.sip import digest_server
from callmeter.sip.digest import DigestClient
from callmeter.sip.digest_server import DigestServer, Outcome, Verdict
from callmeter.sip.headers import AuthParams
from callmeter.sip.message import Request

BOB = Credentials("bob", "zanzibar")
OK = Verdict(Outcome.OK, "bob")
BAD = Verdict(Outcome.BAD)
STALE = Verdict(Outcome.STALE)


@pytest.fixture
def entropy():
    numbers = count(1)
    return lambda octets: next(numbers).to_bytes(octets, "big")


@pytest.fixture
def make_server(entropy):
    def make(**settings):
        return DigestServer("biloxi.com", {"bob": "zanzibar"}.get, entropy, **settings)

    return make


@pytest.fixture
def server(make_server):
    return make_server()


def register(uri="sip:biloxi.com"):
    return Request("REGISTER", uri, [("To", "<sip:bob@biloxi.com>")])


def sign(server, entropy, *, now=0.0, user=BOB, request=None):
    request = request or register()
    lines = [(server.challenge_header, value) for value in server.challenge(now)]
    response = request.create_response(server.status, headers=lines)
    return DigestClient(entropy).authorize(response, request, user)


def change(server, request, **params):
    """The request with parameters of its credentials replaced, or taken out where None."""
    given = AuthParams.parse(request.headers.get(server.credentials_header))
    values = {**dict(given.params), **params}
    lines = tuple((name, value) for name, value in values.items() if value is not None)
    request.headers.set(server.credentials_header, str(AuthParams("Digest", lines)))
    return request


@pytest.mark.parametrize("proxy", [False, True])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512-256"])
@pytest.mark.parametrize("qop", ["auth", "auth-int"])
def test_the_right_password_passes(make_server, entropy, proxy, algorithm, qop):
    server = make_server(algorithms=(algorithm,), qop=(qop,), proxy=proxy)
    request = sign(server, entropy)
    assert server.check(request, 1.0) == OK
    assert ("Proxy-Authorization" in request.headers) is proxy


def test_challenges_come_strongest_first_with_one_nonce(server):
    sha, md5 = map(AuthParams.parse, server.challenge(0.0))
    assert (sha.get("algorithm"), md5.get("algorithm")) == ("SHA-256", "MD5")
    assert sha.get("nonce") == md5.get("nonce")
    assert (sha.get("realm"), sha.get("qop"), sha.get("stale")) == ("biloxi.com", "auth", None)
    assert AuthParams.parse(server.challenge(0.0, stale=True)[0]).get("stale") == "true"


def test_no_two_nonces_are_equal(server):
    assert server.challenge(0.0)[0] != server.challenge(0.0)[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithms": ()},
        {"algorithms": ("SHA-9",)},
        {"algorithms": ("MD5-sess",)},
        {"qop": ()},
        {"qop": ("auth-conf",)},
    ],
)
def test_what_cannot_be_checked_is_not_offered(make_server, settings):
    with pytest.raises(ConfigurationError):
        make_server(**settings)


def test_a_request_without_credentials_is_told_apart_from_a_wrong_one(server, entropy):
    assert server.check(register(), 0.0) == Verdict(Outcome.ABSENT)
    foreign = register()
    foreign.headers.add("Authorization", 'Digest realm="other", response="x"')
    foreign.headers.add("Authorization", 'Basic realm="biloxi.com"')
    assert server.check(foreign, 0.0) == Verdict(Outcome.ABSENT)


def test_credentials_of_other_realms_do_not_hide_ours(server, entropy):
    request = sign(server, entropy)
    request.headers.insert("Authorization", 'Digest realm="other", response="x"')
    assert server.check(request, 0.0) == OK


def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(server, entropy):
    assert server.check(sign(server, entropy, user=Credentials("bob", "x")), 0.0) == BAD
    assert server.check(sign(server, entropy, user=Credentials("eve", "x")), 0.0) == BAD


def test_a_wrong_password_and_an_unknown_user_cost_the_same_work(server, entropy, monkeypatch):
    calls = []
    real = digest_server.digest_response

    def counting(algorithm, **inputs):
        calls.append(algorithm)
        return real(algorithm, **inputs)

    monkeypatch.setattr(digest_server, "digest_response", counting)
    server.check(sign(server, entropy, user=Credentials("bob", "x")), 0.0)
    server.check(sign(server, entropy, user=Credentials("eve", "x")), 0.0)
    assert calls == ["SHA-256", "SHA-256"]


def test_an_unknown_user_cannot_pass_with_what_is_hashed_in_its_place(server, entropy):
    user = Credentials("eve", server._stand_in)
    assert server.check(sign(server, entropy, user=user), 0.0) == BAD


def test_credentials_that_cannot_be_read_are_bad(server):
    request = register()
    request.headers.add("Authorization", 'Digest realm="biloxi.com')
    assert server.check(request, 0.0) == BAD


@pytest.mark.parametrize(
    "params",
    [
        {"response": None},
        {"response": '"00"'},
        {"username": None},
        {"username": '"alice"'},
        {"uri": None},
        {"uri": '"sip:other.example"'},
        {"uri": '"tel:+1"'},
        {"uri": '"?"'},
        {"algorithm": "SHA-512-256"},
        {"algorithm": "SHA-9"},
        {"qop": "auth-int"},
        {"qop": None},
        {"nc": None},
        {"nc": "1"},
        {"nc": "0000000g"},
        {"nc": "00000002"},
        {"cnonce": None},
        {"cnonce": '""'},
        {"nonce": None},
        {"nonce": '"other"'},
    ],
    ids=str,
)
def test_credentials_that_were_touched_are_bad(server, entropy, params):
    request = change(server, sign(server, entropy), **params)
    assert server.check(request, 0.0) == BAD


def test_the_method_and_the_request_uri_are_covered(server, entropy):
    signed = sign(server, entropy)
    header = ("Authorization", signed.headers.get("Authorization"))
    assert server.check(Request("INVITE", "sip:biloxi.com", [header]), 0.0) == BAD
    assert server.check(Request("REGISTER", "sip:other.com", [header]), 0.0) == BAD
    assert server.check(Request("REGISTER", "sip:BILOXI.COM", [header]), 0.0) == OK


def test_a_request_uri_that_is_no_sip_uri_is_compared_as_text(server, entropy):
    signed = sign(server, entropy, request=register("tel:+15551234"))
    assert server.check(signed, 0.0) == OK


def test_a_request_uri_that_cannot_be_read_is_not_matched(server, entropy):
    header = ("Authorization", sign(server, entropy).headers.get("Authorization"))
    assert server.check(Request("REGISTER", "sip:[", [header]), 0.0) == BAD


def test_an_old_client_may_leave_out_qop_once_per_nonce(server, entropy):
    plain = AuthParams.parse(server.challenge(0.0)[1])
    line = f'Digest realm="biloxi.com", nonce="{plain.get("nonce")}"'
    response = register().create_response(401, headers=[("WWW-Authenticate", line)])
    request = DigestClient(entropy).authorize(response, register(), BOB)
    assert server.check(request, 0.0) == OK
    assert server.check(request, 0.0) == STALE


def test_a_count_without_qop_means_nothing(server, entropy):
    plain = AuthParams.parse(server.challenge(0.0)[1])
    line = f'Digest realm="biloxi.com", nonce="{plain.get("nonce")}"'
    response = register().create_response(401, headers=[("WWW-Authenticate", line)])
    request = DigestClient(entropy).authorize(response, register(), BOB)
    assert server.check(change(server, request, nc="zz"), 0.0) == OK


def test_a_client_without_qop_fails_where_the_body_has_to_be_covered(make_server, entropy):
    server = make_server(qop=("auth-int",), algorithms=("MD5",))
    nonce = AuthParams.parse(server.challenge(0.0)[0]).get("nonce")
    line = f'Digest realm="biloxi.com", nonce="{nonce}"'
    response = register().create_response(401, headers=[("WWW-Authenticate", line)])
    request = DigestClient(entropy).authorize(response, register(), BOB)
    assert server.check(request, 0.0) == BAD


def test_a_replayed_count_is_refused_and_a_higher_one_taken(server, entropy):
    client = DigestClient(entropy)
    lines = [("WWW-Authenticate", value) for value in server.challenge(0.0)]
    first = client.authorize(register().create_response(401, headers=lines), register(), BOB)
    second, third = client.preempt(register(), BOB), client.preempt(register(), BOB)
    assert server.check(first, 1.0) == OK
    assert server.check(first, 1.0) == STALE
    assert server.check(third, 1.0) == OK
    assert server.check(second, 1.0) == STALE
    assert STALE.stale
    assert not OK.stale


def test_an_old_nonce_is_stale_for_the_right_password_only(make_server, entropy):
    server = make_server(lifetime=60.0)
    assert server.check(sign(server, entropy), 60.0) == OK
    assert server.check(sign(server, entropy), 60.1) == STALE
    assert server.check(sign(server, entropy, user=Credentials("bob", "x")), 60.1) == BAD


@pytest.mark.parametrize("nonce", ["", "made up", "0" * 76, "f" * 76])
def test_a_nonce_that_we_did_not_make_is_stale(server, entropy, nonce):
    line = f'Digest realm="biloxi.com", nonce="{nonce}", qop="auth"'
    response = register().create_response(401, headers=[("WWW-Authenticate", line)])
    request = DigestClient(entropy).authorize(response, register(), BOB)
    assert server.check(request, 0.0) == STALE


def test_a_nonce_of_another_server_with_the_same_realm_is_stale(make_server, entropy):
    one, other = make_server(), make_server()
    assert other.check(sign(one, entropy), 0.0) == STALE


def test_a_challenge_leaves_no_state(server, entropy):
    for _ in range(100):
        server.check(sign(server, entropy, user=Credentials("bob", "x")), 0.0)
    assert not server._counts


def test_nonces_that_had_to_be_forgotten_cannot_be_replayed(server, entropy, monkeypatch):
    monkeypatch.setattr(digest_server, "MAX_NONCES", 2)
    requests = [sign(server, entropy, now=float(now)) for now in range(4)]
    assert [server.check(request, 5.0) for request in requests] == [OK] * 4
    assert len(server._counts) == 2
    assert [server.check(request, 5.0) for request in requests] == [STALE] * 4


def test_the_realm_is_quoted(entropy):
    server = DigestServer('a "b" \\ c', {}.get, entropy)
    assert AuthParams.parse(server.challenge(0.0)[0]).get("realm") == 'a "b" \\ c'
    assert repr(server) == "DigestServer('a \"b\" \\\\ c')"


PARTS = ["Digest ", 'realm="r"', 'username="bob"', 'nonce="n"', "qop=auth", "nc=00000001", "nc=x"]
PARTS += [
    'cnonce="c"',
    'uri="sip:a"',
    'uri="?"',
    'response="r"',
    "algorithm=MD5",
    ",",
    '"',
    "\udcff",
]


@given(st.lists(st.sampled_from(PARTS), max_size=16).map(",".join))
def test_no_credentials_however_odd_break_the_server_or_pass(line):
    server = DigestServer("r", {"bob": "zanzibar"}.get, bytes)
    request = Request("REGISTER", "sip:a", [("Authorization", "Digest " + line)])
    assert server.check(request, 0.0).outcome in {Outcome.ABSENT, Outcome.BAD}
