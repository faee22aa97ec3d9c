from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.config import Credentials
from callmeter.sip.digest import MAX_SESSIONS, DigestClient, DigestServer, Refusal, answer
from callmeter.sip.headers import AuthParams
from callmeter.sip.message import Headers, Request, Response

BOB = Credentials("bob", "zanzibar")


@pytest.fixture
def entropy():
    numbers = count(1)
    return lambda octets: next(numbers).to_bytes(octets, "big")


@pytest.fixture
def client(entropy):
    return DigestClient(entropy)


@pytest.fixture
def request_():
    return Request("REGISTER", "sip:biloxi.com", [("To", "<sip:bob@biloxi.com>")])


def challenge(realm="biloxi.com", nonce="n1", *, qop="auth", **params):
    tail = f', qop="{qop}"' if qop is not None else ""
    tail += "".join(f", {name}={value}" for name, value in params.items())
    return f'Digest realm="{realm}", nonce="{nonce}"{tail}'


def refuse(request, *challenges, proxy=()):
    """A 401 as a parser gives it: whatever octets are in the values."""
    names = [b"WWW-Authenticate"] * len(challenges) + [b"Proxy-Authenticate"] * len(proxy)
    values = [value.encode("utf-8", "surrogateescape") for value in (*challenges, *proxy)]
    keys = [name.decode().lower() for name in names]
    return Response(401, None, Headers.from_raw(keys, names, values))


def credentials(request, header="Authorization"):
    return [AuthParams.parse(line) for line in request.headers.get_all(header)]


def test_a_challenge_is_answered_in_a_copy(client, request_):
    again = client.authorize(refuse(request_, challenge()), request_, BOB)
    (given,) = credentials(again)
    assert (given.scheme, given.get("username"), given.get("uri")) == (
        "Digest",
        "bob",
        "sip:biloxi.com",
    )
    assert client.refusal is None
    assert "Authorization" not in request_.headers


def test_the_uri_is_the_one_on_the_wire(client):
    request = Request("REGISTER", "sip:BILOXI.com:05060;Transport=UDP", [("To", "<sip:b@b.com>")])
    again = client.authorize(refuse(request, challenge()), request, BOB)
    assert credentials(again)[0].get("uri") == again.start_line.split(" ")[1]


def test_a_proxy_challenge_is_answered_in_its_own_header(client, request_):
    again = client.authorize(refuse(request_, proxy=[challenge()]), request_, BOB)
    assert not credentials(again)
    assert len(credentials(again, "Proxy-Authorization")) == 1


def test_server_and_proxy_in_one_response_are_both_answered(client, request_):
    response = refuse(request_, challenge("a", "n1"), proxy=[challenge("b", "n2")])
    again = client.authorize(response, request_, BOB)
    assert credentials(again)[0].get("realm") == "a"
    assert credentials(again, "Proxy-Authorization")[0].get("realm") == "b"


def test_two_challenges_in_one_line_are_two_challenges(client, request_):
    line = challenge(algorithm="FOO") + ", " + challenge(nonce="n2", algorithm="SHA-256")
    again = client.authorize(refuse(request_, line), request_, BOB)
    assert credentials(again)[0].get("nonce") == "n2"


def test_a_proxy_that_was_satisfied_gets_a_new_count_with_the_answer_to_the_server(
    client, request_
):
    first = client.authorize(refuse(request_, proxy=[challenge("p", "n1")]), request_, BOB)
    second = client.authorize(refuse(first, challenge("s", "n2")), first, BOB)
    assert credentials(second, "Proxy-Authorization")[0].get("nc") == "00000002"
    assert credentials(second)[0].get("nc") == "00000001"


def test_credentials_that_somebody_else_put_there_stay(client, request_):
    request_.headers.add("Authorization", 'Digest realm="other", nonce="x", response="y"')
    request_.headers.add("Authorization", "Bearer")
    again = client.authorize(refuse(request_, challenge()), request_, BOB)
    assert [each.get("realm") for each in credentials(again)] == ["other", None, "biloxi.com"]


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        (None, Refusal.NO_CHALLENGE),
        ('Digest nonce="n"', Refusal.MALFORMED),
        ('Digest realm="r"', Refusal.MALFORMED),
        ('Digest realm="r', Refusal.MALFORMED),
        (challenge(opaque='"a\\\0b"'), Refusal.MALFORMED),
        ('Basic realm="r"', Refusal.UNSUPPORTED),
        (challenge(algorithm="SHA-9"), Refusal.UNSUPPORTED),
        (challenge(qop="privacy"), Refusal.UNSUPPORTED),
    ],
)
def test_what_cannot_be_answered_is_named(client, request_, line, refusal):
    response = refuse(request_, *([line] if line else []))
    assert client.authorize(response, request_, BOB) is None
    assert client.refusal is refusal


def test_a_broken_challenge_does_not_hide_a_good_one(client, request_):
    response = refuse(request_, 'Digest realm="r', challenge())
    assert client.authorize(response, request_, BOB) is not None


@pytest.mark.parametrize(
    ("offered", "used"),
    [("auth", "auth"), ("auth-int,auth", "auth"), (" AUTH-INT ", "auth-int"), ("x, auth", "auth")],
)
def test_auth_is_preferred_to_auth_int(client, request_, offered, used):
    again = client.authorize(refuse(request_, challenge(qop=offered)), request_, BOB)
    assert credentials(again)[0].get("qop") == used


@pytest.mark.parametrize("qop", [None, ""])
def test_a_challenge_without_qop_is_answered_without_count_and_cnonce(client, request_, qop):
    (given,) = credentials(client.authorize(refuse(request_, challenge(qop=qop)), request_, BOB))
    assert [name for name, _ in given.params] == ["username", "realm", "nonce", "uri", "response"]


def test_a_session_algorithm_sends_its_cnonce_even_without_qop(client, request_):
    line = challenge(qop=None, algorithm="MD5-sess")
    (given,) = credentials(client.authorize(refuse(request_, line), request_, BOB))
    assert given.get("cnonce")


def test_values_that_came_without_quotes_go_back_with_them(client, request_):
    line = "Digest realm=biloxi.com, nonce=n1, opaque=o"
    (given,) = credentials(client.authorize(refuse(request_, line), request_, BOB))
    params = dict(given.params)
    assert (params["realm"], params["nonce"], params["opaque"]) == ('"biloxi.com"', '"n1"', '"o"')


def test_only_the_first_realm_of_each_kind_is_answered_when_none_is_named(client, request_):
    assert client.authorize(refuse(request_, challenge("a")), request_, BOB)
    assert client.authorize(refuse(request_, challenge("b")), request_, BOB) is None
    assert client.refusal is Refusal.FOREIGN_REALM
    assert client.authorize(refuse(request_, proxy=[challenge("b")]), request_, BOB)


def test_a_challenge_that_cannot_be_answered_claims_no_realm(client, request_):
    client.authorize(refuse(request_, challenge("a", algorithm="SHA-9")), request_, BOB)
    assert client.authorize(refuse(request_, challenge("b")), request_, BOB)


def test_the_caller_may_say_which_realms_are_the_accounts(client, request_):
    allowed = {"a", "b"}.__contains__
    for realm in ("a", "b"):
        response = refuse(request_, challenge(realm))
        assert client.authorize(response, request_, BOB, allowed=allowed)
    response = refuse(request_, challenge("c"))
    assert client.authorize(response, request_, BOB, allowed=allowed) is None


def test_the_realm_of_the_credentials_outweighs_what_the_caller_says(client, request_):
    bound = Credentials("bob", "zanzibar", realm="a")
    response = refuse(request_, challenge("b"))
    assert client.authorize(response, request_, bound, allowed=lambda _: True) is None


def test_a_nonce_that_wore_out_is_replaced_even_where_nobody_says_stale(client, request_):
    client.authorize(refuse(request_, challenge()), request_, BOB)
    used = client.preempt(request_, BOB)
    again = client.authorize(refuse(used, challenge(nonce="n2")), used, BOB)
    assert credentials(again)[0].get("nonce") == "n2"
    assert client.authorize(refuse(again, challenge(nonce="n3")), again, BOB) is None


def test_a_worn_nonce_offered_again_is_a_refusal(client, request_):
    client.authorize(refuse(request_, challenge()), request_, BOB)
    used = client.preempt(request_, BOB)
    assert client.authorize(refuse(used, challenge()), used, BOB) is None
    assert client.refusal is Refusal.WRONG_CREDENTIALS


def test_a_stale_nonce_of_another_request_is_replaced_too(client, request_):
    first = client.authorize(refuse(request_, challenge(nonce="n1")), request_, BOB)
    client.authorize(refuse(request_, challenge(nonce="n2")), request_, BOB)
    stale = challenge(nonce="n3", stale="true")
    assert client.authorize(refuse(first, stale), first, BOB) is not None


def test_a_stale_nonce_that_is_no_longer_remembered_is_replaced(client, request_, entropy):
    first = client.authorize(refuse(request_, challenge()), request_, BOB)
    stale = refuse(first, challenge(nonce="n2", stale="true"))
    assert DigestClient(entropy).authorize(stale, first, BOB) is not None


def test_the_same_nonce_in_a_new_challenge_goes_on_counting(client, request_):
    for number in (1, 2, 3):
        again = client.authorize(refuse(request_, challenge()), request_, BOB)
        assert credentials(again)[0].get("nc") == f"{number:08x}"


def test_a_new_nonce_starts_to_count_anew(client, request_):
    client.authorize(refuse(request_, challenge()), request_, BOB)
    again = client.authorize(refuse(request_, challenge(nonce="n2")), request_, BOB)
    assert credentials(again)[0].get("nc") == "00000001"


def test_each_cnonce_is_fresh(client, request_):
    client.authorize(refuse(request_, challenge()), request_, BOB)
    values = {credentials(client.preempt(request_, BOB))[0].get("cnonce") for _ in range(5)}
    assert len(values) == 5


def test_nothing_is_preempted_before_the_first_challenge(client, request_):
    assert client.preempt(request_, BOB) is request_


def test_the_number_of_realms_remembered_is_bounded(client, request_):
    for number in range(2 * MAX_SESSIONS):
        response = refuse(request_, challenge(f"realm{number}"))
        client.authorize(response, request_, BOB, allowed=lambda _: True)
    realms = [each.get("realm") for each in credentials(client.preempt(request_, BOB))]
    assert realms == [f"realm{number}" for number in range(MAX_SESSIONS, 2 * MAX_SESSIONS)]


def test_a_user_name_may_hold_quotes_and_any_letter(client, request_, entropy):
    user = Credentials('Jäs"øn\\ Doe', "Secret, or not?")
    server = DigestServer("r", {user.username: user.password}.get, entropy)
    response = refuse(request_, *server.challenge(0.0))
    again = client.authorize(response, request_, user)
    assert server.check(again, 0.0).user == user.username


def test_no_password_shows_in_any_repr(client, request_, entropy):
    server = DigestServer("biloxi.com", {"bob": "zanzibar"}.get, entropy)
    again = client.authorize(refuse(request_, *server.challenge(0.0)), request_, BOB)
    secret = credentials(again)[0].get("response")
    shown = repr([BOB, client, server, again, again.headers, *credentials(again)])
    shown += repr(server.check(again, 0.0))
    assert "zanzibar" not in shown
    assert secret not in shown
    assert "zanzibar" not in again.to_bytes().decode()


def test_a_single_answer_needs_no_memory(entropy):
    value = answer(
        ['Basic realm="r"', challenge("other"), challenge("r", "n1", algorithm="SHA-256")],
        method="INVITE",
        uri="sip:bob@biloxi.com",
        username="bob",
        password="zanzibar",
        realms={"r"},
        nonce_count=3,
        entropy=entropy,
    )
    given = AuthParams.parse(value)
    assert (given.get("realm"), given.get("nc")) == ("r", "00000003")


def test_there_is_no_answer_to_foreign_realms_alone(entropy):
    value = answer(
        [challenge("other")],
        method="INVITE",
        uri="sip:bob@biloxi.com",
        username="bob",
        password="zanzibar",
        realms={"r"},
        entropy=entropy,
    )
    assert value is None


def test_a_fresh_nonce_that_is_stale_at_once_is_replaced_once(client, request_):
    first = client.authorize(refuse(request_, challenge()), request_, BOB)
    second = client.authorize(refuse(first, challenge(nonce="n2", stale="true")), first, BOB)
    assert credentials(second)[0].get("nonce") == "n2"
    third = refuse(second, challenge(nonce="n3", stale="true"))
    assert client.authorize(third, second, BOB) is None
    assert client.refusal is Refusal.WRONG_CREDENTIALS


PIECES = ["Digest", " ", "realm", "nonce", "qop", "algorithm", "opaque", "=", ",", '"', "\\", "MD5"]
PIECES += [
    'realm="r"',
    'nonce="n"',
    'qop="auth"',
    "auth-int",
    "\0",
    "\r",
    "\udcff",
    "ü",
    "stale=true",
]


@given(st.lists(st.sampled_from(PIECES), max_size=24).map("".join))
def test_no_challenge_however_odd_breaks_the_client(line):
    client = DigestClient(bytes)
    request = Request("REGISTER", "sip:biloxi.com", [("To", "<sip:bob@biloxi.com>")])
    again = client.authorize(refuse(request, line, proxy=["Digest " + line]), request, BOB)
    if again is None:
        assert client.refusal is not None
    else:
        again.to_bytes()
        for header in ("Authorization", "Proxy-Authorization"):
            assert all(each.get("response") for each in credentials(again, header))
