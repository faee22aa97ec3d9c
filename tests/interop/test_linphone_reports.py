"""linphone: VoIP metrics of extended reports are asked for, told and understood both ways."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import SrtpConfig, SrtpMethod, SrtpPolicy, Tone
from peers.conversation import ITS_TONE

pytestmark = pytest.mark.interop("linphone")

SDES = SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.REQUIRED)


async def test_both_ends_tell_each_other_how_they_hear(phone, linphone):
    carol = linphone(encryption="srtp", tone=ITS_TONE)
    async with (
        phone(srtp=SDES) as alice,
        alice.call(carol.uri) as call,
        asyncio.timeout(60),
    ):
        await asyncio.to_thread(carol.play)
        while not call.statistics().send["xr_reports"]:
            await call.media.play(Tone(440), seconds=1)
    (stream,) = call.report().to_dict()["media"]
    assert stream["send"]["xr_loss_rate"] == 0
    # linphone makes both of one figure, and on a busy machine it hears worse.
    assert 1 < stream["send"]["xr_mos_cq"] < 5
    assert abs(stream["send"]["xr_r_factor"] - 20 * stream["send"]["xr_mos_cq"]) <= 2
    assert stream["receive"]["xr_reports"] >= 1
    assert stream["receive"]["xr_mos_cq"] > 3
