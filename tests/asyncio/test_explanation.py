"""What is printed of a call when a test fails."""

from __future__ import annotations

import pytest

from callmeter import NoCommonSuite
from callmeter.testing.explanation import diagnosis_text, explanation, ladder_of, title_of


async def test_it_has_what_was_found_and_expected_and_what_else_is_to_say(phones):
    alice, bob = await phones("alice"), await phones("bob", transport="tls")
    async with alice.call(bob.aor) as call:
        text = explanation(call, "is red", "a green one", ("seen", "word " * 40))
    lines = text.splitlines()
    assert lines[:3] == ["the call of alice with bob is red", "", "  expected    a green one"]
    assert lines[3].startswith("  seen        word word")
    assert lines[4].startswith("              word")
    assert "  diagnosis   no check found anything wrong" in lines
    assert max(map(len, lines)) < 100


def test_of_no_call_there_is_nothing_more_to_say():
    assert explanation(None, "is red", "green") == "the call is red\n\n  expected    green"


async def test_the_ladder_has_the_messages_of_all_ends_under_their_names(phones):
    alice, bob = await phones("alice"), await phones("bob", transport="wss")
    async with alice.call(bob.aor) as call:
        pass
    drawn = ladder_of(call).splitlines()
    assert drawn[0].split() == ["alice", "registrar", "bob"]
    assert sum("INVITE" in line for line in drawn) == 2
    times = [float(line.split()[0]) for line in drawn[1:]]
    assert times == sorted(times)


async def test_the_diagnosis_of_the_other_end_is_told_too(phones):
    alice = await phones("alice", srtp="sdes", suite="AEAD_AES_128_GCM")
    bob = await phones("bob", srtp="sdes", suite="AES_CM_128_HMAC_SHA1_80")
    with pytest.raises(NoCommonSuite):
        async with alice.call(bob.aor):
            pass
    (call,) = alice.every_call
    text = "\n".join(diagnosis_text(call))
    assert text.startswith("  FAIL        suites_compatible: 488 Not Acceptable Here")
    assert "  FAIL        bob found suites_compatible: " in text
    assert text.count("-> Check which cipher suites") == 2


async def test_somebody_who_is_no_phone_is_called_by_the_uri(phones, make_endpoint):
    alice, stranger = await phones("alice"), await make_endpoint("stranger")
    call = await alice.invite(str(stranger.contact))
    assert title_of(call) == f"the call of alice with {stranger.contact}"
    await call.bye()
