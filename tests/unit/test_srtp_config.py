"""Settings of media encryption."""

from __future__ import annotations

import pytest

from callmeter.srtp_config import SrtpMethod


@pytest.mark.parametrize(
    ("method", "sdes", "dtls"),
    [
        (SrtpMethod.LEGACY, True, False),
        (SrtpMethod.SDES, True, False),
        (SrtpMethod.DTLS, False, True),
        (SrtpMethod.DUAL, True, True),
    ],
)
def test_the_method_says_what_is_offered(method, sdes, dtls):
    assert (method.offers_sdes, method.offers_dtls) == (sdes, dtls)
