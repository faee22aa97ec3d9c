"""The format parameters of Opus."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.sdp.opus import OpusParameters, format_parameters

BROWSER = "minptime=10;useinbandfec=1"
RFC_7587 = (
    "maxplaybackrate=16000; sprop-maxcapturerate=16000; maxaveragebitrate=20000; stereo=1; "
    "useinbandfec=1; usedtx=0"
)


def test_a_browser_s_parameters_are_read():
    assert OpusParameters.parse(BROWSER) == OpusParameters(min_ptime=10, in_band_fec=True)


def test_the_example_of_the_rfc_is_read():
    assert OpusParameters.parse(RFC_7587) == OpusParameters(
        max_playback_rate=16_000, max_average_bitrate=20_000, stereo=True, in_band_fec=True
    )


@pytest.mark.parametrize("fmtp", [None, "", ";;", "=1", "foo=bar", "0-15"])
def test_without_parameters_the_defaults_hold(fmtp):
    assert OpusParameters.parse(fmtp) == OpusParameters()


@pytest.mark.parametrize(
    "fmtp",
    ["maxaveragebitrate=1", "maxplaybackrate=x", "minptime=0", "useinbandfec=yes", "stereo="],
)
def test_values_out_of_range_are_taken_for_the_default(fmtp):
    assert OpusParameters.parse(fmtp) == OpusParameters()


def test_the_first_of_a_name_counts_and_its_case_does_not():
    assert format_parameters("Stereo=1; stereo=0;x") == {"stereo": "1", "x": ""}


def test_defaults_are_left_out_of_what_is_written():
    assert str(OpusParameters()) == ""
    assert str(OpusParameters.parse(BROWSER)) == BROWSER


@given(
    st.builds(
        OpusParameters,
        max_playback_rate=st.integers(8000, 48_000),
        max_average_bitrate=st.none() | st.integers(6000, 510_000),
        stereo=st.booleans(),
        sprop_stereo=st.booleans(),
        constant_bitrate=st.booleans(),
        in_band_fec=st.booleans(),
        discontinuous=st.booleans(),
        min_ptime=st.integers(3, 120),
    )
)
def test_what_is_written_is_read_again(parameters):
    assert OpusParameters.parse(str(parameters)) == parameters


@given(st.text(max_size=60))
def test_no_text_is_too_odd(text):
    OpusParameters.parse(text)
