"""Published and recomputed digests (RFC 2617, 7616, 8760), and the rules that go with them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from callmeter.config import Credentials
from callmeter.sip.digest import DigestClient, DigestServer, Outcome, Refusal, answer
from callmeter.sip.digest_hash import digest_response, hash_hex
from callmeter.sip.headers import AuthParams
from callmeter.sip.message import Request

DOCUMENT = json.loads(
    (Path(__file__).parent.parent / "vectors" / "digest.json").read_text(encoding="utf-8")
)
VECTORS = [
    pytest.param(vector, id=f"{vector['algorithm']} {vector['qop']} {vector['source'][:18]}")
    for vector in DOCUMENT["vectors"]
]


def inputs(vector):
    return {name: vector[name] for name in ("username", "realm", "password", "method", "uri")}


def entropy(octets):
    return bytes(range(octets))


@pytest.mark.parametrize("vector", VECTORS)
def test_the_response_comes_out(vector):
    response = digest_response(
        vector["algorithm"],
        **inputs(vector),
        nonce=vector["nonce"],
        qop=vector["qop"],
        nonce_count=vector["nc"] or "",
        cnonce=vector["cnonce"] or "",
        body=base64.b64decode(vector["body_b64"]),
    )
    assert response == vector["response"]
    assert response == vector.get("published_response", response)


@pytest.mark.parametrize("vector", VECTORS)
def test_an_answer_to_the_challenge_of_the_vector_checks(vector):
    qop = f', qop="{vector["qop"]}"' if vector["qop"] else ""
    challenge = (
        f'Digest realm="{vector["realm"]}", nonce="{vector["nonce"]}", '
        f"algorithm={vector['algorithm']}{qop}"
    )
    body = base64.b64decode(vector["body_b64"])
    value = answer(
        [challenge],
        method=vector["method"],
        uri=vector["uri"],
        username=vector["username"],
        password=vector["password"],
        body=body,
        entropy=entropy,
    )
    given = AuthParams.parse(value)
    assert given.get("response") == digest_response(
        vector["algorithm"],
        **inputs(vector),
        nonce=vector["nonce"],
        qop=vector["qop"],
        nonce_count="00000001",
        cnonce=entropy(16).hex(),
        body=body,
    )


def test_a_user_hash_is_the_hash_of_user_and_realm():
    (vector,) = [each for each in DOCUMENT["vectors"] if "userhash_username" in each]
    user = f"{vector['username']}:{vector['realm']}"
    assert hash_hex(vector["algorithm"], user) == vector["userhash_username"]


# The rules D1 to D9

CREDENTIALS = Credentials("bob", "zanzibar")
RULES = {rule["id"] for rule in DOCUMENT["rules"]}


def register():
    return Request(
        "REGISTER",
        "sip:biloxi.com",
        [("From", "<sip:bob@biloxi.com>;tag=1"), ("To", "<sip:bob@biloxi.com>")],
    )


def refuse(request, *challenges):
    lines = [("WWW-Authenticate", challenge) for challenge in challenges]
    return request.create_response(401, headers=lines)


def digest(realm="biloxi.com", nonce="n1", **params):
    tail = "".join(f", {name}={value}" for name, value in params.items())
    return f'Digest realm="{realm}", nonce="{nonce}", qop="auth"{tail}'


def sent(request):
    return AuthParams.parse(request.headers.get("Authorization"))


def authorize(client, request, *challenges):
    return client.authorize(refuse(request, *challenges), request, CREDENTIALS)


def test_all_rules_are_tested_below():
    source = Path(__file__).read_text(encoding="utf-8")
    tested = {rule for rule in RULES if f"def test_{rule.lower()}_" in source}
    assert tested == RULES


def test_d1_the_topmost_challenge_with_a_known_algorithm_is_answered():
    request = authorize(
        DigestClient(entropy),
        register(),
        digest(nonce="n0", algorithm="SHA-3"),
        digest(nonce="n1", algorithm="SHA-256"),
        digest(nonce="n2", algorithm="MD5"),
    )
    assert (sent(request).get("nonce"), sent(request).get("algorithm")) == ("n1", "SHA-256")
    assert authorize(DigestClient(entropy), register(), digest(algorithm="SHA-3")) is None


def test_d2_algorithms_have_no_case_and_none_means_md5():
    named = authorize(DigestClient(entropy), register(), digest(algorithm="sha-256"))
    assert sent(named).get("algorithm") == "SHA-256"
    unnamed = authorize(DigestClient(entropy), register(), digest())
    assert len(sent(unnamed).get("response")) == 32


def test_d3_a_stale_nonce_is_replaced_once_and_a_second_refusal_is_final():
    client = DigestClient(entropy)
    first = authorize(client, register(), digest(nonce="n1"))
    second = authorize(client, first, digest(nonce="n2", stale="TRUE"))
    assert sent(second).get("nonce") == "n2"
    assert authorize(client, second, digest(nonce="n3", stale="true")) is None
    assert client.refusal is Refusal.WRONG_CREDENTIALS

    client = DigestClient(entropy)
    first = authorize(client, register(), digest(nonce="n1"))
    assert authorize(client, first, digest(nonce="n2", stale="false")) is None
    assert client.refusal is Refusal.WRONG_CREDENTIALS


def test_d4_counts_go_up_in_eight_digits_and_quotes_stand_where_the_rfc_wants_them():
    client = DigestClient(entropy)
    authorize(client, register(), digest(algorithm="MD5", opaque='"o"'))
    for count in range(2, 18):
        params = dict(sent(client.preempt(register(), CREDENTIALS)).params)
        assert params["nc"] == f"{count:08x}"
    assert params["nc"] == "00000011"
    quoted = {name for name, value in params.items() if value[0] == value[-1] == '"'}
    assert quoted == {"username", "realm", "nonce", "uri", "response", "cnonce", "opaque"}
    assert (params["qop"], params["algorithm"]) == ("auth", "MD5")


def test_d5_auth_int_hashes_the_octets_that_are_sent():
    request = register()
    request.body = b"\x00\xffbody\r\n"
    server = DigestServer("biloxi.com", {"bob": "zanzibar"}.get, entropy, qop=("auth-int",))
    signed = authorize(DigestClient(entropy), request, *server.challenge(0.0))
    assert server.check(signed, 1.0).outcome is Outcome.OK
    signed.body += b" "
    assert server.check(signed, 1.0).outcome is Outcome.BAD


def test_d6_a_response_of_the_wrong_length_is_a_plain_failure():
    server = DigestServer("biloxi.com", {"bob": "zanzibar"}.get, entropy)
    signed = authorize(DigestClient(entropy), register(), *server.challenge(0.0))
    value = signed.headers.get("Authorization")
    right = sent(signed).get("response")
    for wrong in (right[:-1], right + "0", "", "é" * 64):
        signed.headers.set("Authorization", value.replace(right, wrong))
        assert server.check(signed, 1.0).outcome is Outcome.BAD


def test_d7_odd_realms_nonces_and_opaques_are_echoed_octet_for_octet():
    challenge = (
        'Digest realm="a \\"b\\", c=d; ü", nonce="n\\\\,=\\"", opaque="\\o, x=\\"y\\"",qop="auth"'
    )
    params = dict(sent(authorize(DigestClient(entropy), register(), challenge)).params)
    assert params["realm"] == '"a \\"b\\", c=d; ü"'
    assert params["nonce"] == '"n\\\\,=\\""'
    assert params["opaque"] == '"\\o, x=\\"y\\""'


def test_d8_a_realm_outside_the_account_never_sees_a_digest():
    client = DigestClient(entropy)
    bound = Credentials("bob", "zanzibar", realm="biloxi.com")
    request = register()
    foreign = refuse(request, digest(realm="evil.example"))
    assert client.authorize(foreign, request, bound) is None
    assert client.refusal is Refusal.FOREIGN_REALM
    assert client.authorize(refuse(request, digest()), request, bound) is not None


def test_d9_a_minimum_refuses_weaker_challenges_by_name():
    client = DigestClient(entropy, minimum="SHA-256")
    assert authorize(client, register(), digest(algorithm="MD5")) is None
    assert client.refusal is Refusal.TOO_WEAK
    assert authorize(client, register(), digest(), digest(algorithm="SHA-256")) is not None
