"""What `assert_heard` says of silence: whether the call is on hold, and what was judged yet."""

from __future__ import annotations

import pytest

from callmeter import Silence
from callmeter.metrics.report import Finding, FindingStatus
from callmeter.testing.assertions import assert_heard

SKIPPED = "nothing yet: {} was skipped (it is too early to tell), it needs"


def says(*arguments, **settings):
    with pytest.raises(AssertionError) as failed:
        assert_heard(*arguments, **settings)
    return " ".join(str(failed.value).split())


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (0, "on hold the direction of media is sendonly: the peer sends no audio"),
        (1, "on hold the direction of media is recvonly: this end sends no audio"),
    ],
)
async def test_a_call_on_hold_is_said_to_be(phones, end, told):
    alice, bob = await phones("alice"), await phones("bob")
    async with alice.call(bob.aor) as call:
        await bob.calls[0].answered()
        await (call, bob.calls[0])[end].hold()
        assert told in says(call)
        assert told in says(call, tone=440)


async def test_what_was_not_judged_yet_is_said_to_be(phones):
    alice, bob = await phones("alice"), await phones("bob")
    async with alice.call(bob.aor) as call:
        assert SKIPPED.format("port_reachable") in says(call)
        await call.media.play(Silence(), seconds=0.3)
        text = says(call)
    assert "heard only silence" in text
    assert SKIPPED.format("audio_not_silent") + " about two seconds of audio" in text
    assert "no check found anything wrong" not in text


async def test_what_a_check_has_passed_it_is_said_to_have_found(phones, monkeypatch):
    alice, bob = await phones("alice"), await phones("bob")
    async with alice.call(bob.aor) as call:
        await call.media.play(Silence(), seconds=0.3)
        passed = [Finding("audio_not_silent", FindingStatus.PASS)]
        monkeypatch.setattr(call, "diagnosis", lambda: passed)
        assert "diagnosis no check found anything wrong" in says(call)
