"""What may be asked of extensions."""

from __future__ import annotations

import pytest

from callmeter.errors import ConfigurationError
from callmeter.session_config import Extension, SessionTimerConfig


@pytest.mark.parametrize(
    ("extension", "offered"),
    [(Extension.DISABLED, False), (Extension.SUPPORTED, True), (Extension.REQUIRED, True)],
)
def test_an_extension_that_is_not_disabled_is_offered(extension, offered):
    assert extension.offered is offered


def test_sessions_do_not_expire_unless_asked_to():
    policy = SessionTimerConfig()
    assert (policy.mode, policy.expires, policy.min_se) == (Extension.DISABLED, 1800, 90)
    assert (policy.refresher, policy.soft_expiry) == ("uac", False)


@pytest.mark.parametrize("seconds", [90, 7200])
def test_each_interval_from_90_to_7200_may_be_asked_for(seconds):
    assert SessionTimerConfig(expires=seconds).expires == seconds


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"expires": 89}, "expires"),
        ({"expires": 7201}, "expires"),
        ({"min_se": 89}, "min_se"),
        ({"expires": 100, "min_se": 101}, "min_se"),
        ({"refresher": "proxy"}, "refresher"),
    ],
)
def test_a_wrong_setting_is_named(wrong, name):
    with pytest.raises(ConfigurationError, match=name):
        SessionTimerConfig(**wrong)
