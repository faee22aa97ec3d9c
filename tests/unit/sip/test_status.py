from __future__ import annotations

from callmeter.sip.status import REASON_PHRASES


def test_every_reason_phrase_is_a_legal_status_line():
    for status, reason in REASON_PHRASES.items():
        assert 100 <= status <= 699
        assert reason.isascii()
        assert reason.isprintable()
        assert reason == reason.strip() != ""
