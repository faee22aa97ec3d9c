"""Settings of the jitter buffer."""

from __future__ import annotations

import pytest

from callmeter.config import MediaConfig
from callmeter.errors import ConfigurationError
from callmeter.jitter_buffer_config import JitterBufferSettings


def test_calls_are_measured_by_an_adaptive_buffer_unless_said():
    settings = MediaConfig().jitter_buffer
    assert settings == JitterBufferSettings(
        adaptive=True, delay=0.06, least=0.02, most=0.2, room=0.5
    )
    assert MediaConfig(jitter_buffer=None).jitter_buffer is None


def test_delays_are_in_their_order():
    with pytest.raises(ConfigurationError, match="least <= delay <= most <= room"):
        JitterBufferSettings(delay=0.01)
