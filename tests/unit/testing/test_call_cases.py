"""Which combinations `callmeter_matrix` runs."""

from __future__ import annotations

import pytest

from callmeter.config import MediaConfig, SrtpSuite
from callmeter.errors import ConfigurationError
from callmeter.testing.call_cases import CallCase, call_cases, callmeter_matrix
from callmeter.testing.endpoint_settings import media_config


def names(**axes):
    return [str(each) for each in call_cases(**axes)]


def test_the_cases_are_the_product_of_the_axes_in_order():
    assert names(transport=["udp", "tls"], keying=["sdes", "dtls"]) == [
        "udp-sdes",
        "udp-dtls",
        "tls-sdes",
        "tls-dtls",
    ]


def test_clear_media_appears_once_without_suite():
    found = names(keying=["none", "sdes"], suite=[*SrtpSuite][:2], policy=["offered", "required"])
    assert [name for name in found if name.startswith("none")] == ["none-disabled"]
    assert len(found) == 5


def test_keys_are_never_disabled():
    assert names(keying=["sdes", "dtls"], policy=["disabled", "required"]) == [
        "sdes-required",
        "dtls-required",
    ]


@pytest.mark.parametrize("keying", ["dtls", "dual"])
def test_a_suite_without_a_dtls_profile_is_left_out(keying):
    found = call_cases(keying=[keying], suite=list(SrtpSuite))
    assert {each.suite for each in found} == {
        SrtpSuite.AES_CM_128_HMAC_SHA1_80,
        SrtpSuite.AES_CM_128_HMAC_SHA1_32,
        SrtpSuite.AEAD_AES_128_GCM,
        SrtpSuite.AEAD_AES_256_GCM,
    }
    assert len(call_cases(keying=["sdes"], suite=list(SrtpSuite))) == len(SrtpSuite)


def test_opportunistic_srtp_is_not_required_and_has_keys():
    found = names(keying=["none", "sdes"], profile=["osrtp"], policy=["offered", "required"])
    assert found == ["sdes-osrtp-offered"]


def test_a_suite_alone_means_sdes():
    assert names(suite=["AEAD_AES_128_GCM"]) == ["sdes-AEAD_AES_128_GCM"]


def test_one_word_is_an_axis_too_and_none_leaves_the_default():
    assert names(transport="wss", keying=[None, "off"]) == ["wss", "wss-none"]


def test_a_policy_disabled_alone_is_clear_media():
    assert CallCase(policy="disabled").legal
    assert not CallCase(policy="required").legal


def test_every_case_is_a_setting_that_exists():
    cases = call_cases(
        keying=["none", "sdes", "dtls", "dual"],
        suite=list(SrtpSuite),
        profile=["avp", "avpf", "osrtp"],
        policy=["offered", "required"],
    )
    for case in cases:
        assert media_config(MediaConfig(), **case.settings).srtp.enabled is (case.keying != "none")


@pytest.mark.parametrize("axis", ["transport", "keying", "suite", "profile", "policy"])
def test_a_value_that_does_not_exist_is_told(axis):
    with pytest.raises(ConfigurationError, match=f"there is no {axis} 'x'"):
        call_cases(**{axis: ["x"]})


def test_the_mark_has_names_and_refuses_an_empty_matrix():
    mark = callmeter_matrix(transport=["udp"]).mark
    assert mark.kwargs["ids"] == ["udp"]
    assert callmeter_matrix(keying=[None]).mark.kwargs["ids"] == ["default"]
    with pytest.raises(pytest.UsageError):
        callmeter_matrix(keying=["none"], profile=["osrtp"])


def test_a_value_that_does_not_exist_is_shown_in_the_line_of_the_test():
    with pytest.raises(ConfigurationError, match="there is no transport") as caught:
        callmeter_matrix(transport=["carrier pigeon"])
    shown = [entry.path.name for entry in caught.traceback.filter(caught)]
    assert shown == ["test_call_cases.py"]
