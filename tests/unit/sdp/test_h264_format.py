from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.sdp.h264_format import H264Parameters, answer_parameters, answers, fits

BROWSER = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
PARAMETER_SETS = "sprop-parameter-sets=Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg=="


def parameters(identifier, *, mode=1, asymmetric=True):
    return H264Parameters(
        profile_level_id=bytes.fromhex(identifier),
        packetization_mode=mode,
        level_asymmetry_allowed=asymmetric,
    )


def test_the_parameters_of_a_browser_are_read_and_written():
    read = H264Parameters.parse(BROWSER)
    assert read == parameters("42e01f")
    assert read.profile == "CB"
    assert str(read) == BROWSER


def test_nothing_said_is_mode_0_of_no_profile():
    assert H264Parameters.parse(None) == H264Parameters()
    assert H264Parameters().profile is None
    assert str(H264Parameters()) == "packetization-mode=0"


def test_parameter_sets_are_decoded_with_or_without_their_padding():
    wanted = bytes.fromhex("6742c01ed903c568400000030040 00000c03c58b92".replace(" ", ""))
    for text in (PARAMETER_SETS, PARAMETER_SETS.rstrip("=")):
        assert H264Parameters.parse(text).parameter_sets == (wanted, bytes.fromhex("68cb8cb2"))
    assert str(H264Parameters.parse(PARAMETER_SETS)) == f"packetization-mode=0;{PARAMETER_SETS}"


@pytest.mark.parametrize("text", ["sprop-parameter-sets=?", "sprop-parameter-sets=Zm9v,Z"])
def test_parameter_sets_that_are_no_base64_count_as_not_said(text):
    assert H264Parameters.parse(text).parameter_sets == ()


def test_no_more_than_32_parameter_sets_are_taken():
    text = "sprop-parameter-sets=" + ",".join(["", *["Zm9v"] * 40])
    assert len(H264Parameters.parse(text).parameter_sets) == 31


@pytest.mark.parametrize("text", ["42e01", "42e01g", "42e01f00", ""])
def test_an_identifier_that_is_not_three_octets_counts_as_not_said(text):
    assert H264Parameters.parse(f"profile-level-id={text}").profile_level_id is None


@pytest.mark.parametrize("text", ["3", "-1", "x"])
def test_an_unknown_mode_fits_none_that_is_known(text):
    unknown = H264Parameters.parse(f"packetization-mode={text}")
    assert str(unknown) == ""
    assert not any(fits(unknown, H264Parameters(packetization_mode=mode)) for mode in range(3))


@pytest.mark.parametrize(
    ("identifier", "profile"),
    [
        ("42e01f", "CB"),
        ("42c01f", "CB"),
        ("4d801f", "CB"),
        ("58c01f", "CB"),
        ("42001f", "B"),
        ("42801f", "B"),
        ("58801f", "B"),
        ("4d001f", "M"),
        ("4d401f", "M"),
        ("58001f", "E"),
        ("64001f", "H"),
        ("640c1f", "CH"),
        ("6e001f", "H10"),
        ("6e101f", "H10I"),
        ("f4001f", "H44"),
        ("2c101f", "C44I"),
        ("64081f", "6408"),
    ],
)
def test_profiles_are_those_of_table_5(identifier, profile):
    assert parameters(identifier).profile == profile


def test_formats_fit_by_mode_and_profile_however_it_is_written():
    assert fits(parameters("42e01f"), parameters("4d8028", asymmetric=False))
    assert not fits(parameters("42e01f"), parameters("42e01f", mode=0))
    assert not fits(parameters("42e01f"), parameters("42001f"))
    assert fits(parameters("42e01f"), H264Parameters(packetization_mode=1))


@pytest.mark.parametrize("offered", ["42e01f", "42001f", "4d001f", "58001f", "64001f", "640c1f"])
def test_constrained_baseline_answers_every_profile_that_contains_it(offered):
    assert answers(parameters("42e01f"), parameters(offered))
    assert not answers(parameters("42e01f"), parameters(offered, mode=0))


@pytest.mark.parametrize(("own", "offered"), [("42e01f", "f4001f"), ("4d001f", "42e01f")])
def test_other_profiles_do_not_answer_each_other(own, offered):
    assert not answers(parameters(own), parameters(offered))


@pytest.mark.parametrize(
    ("offered", "asymmetric", "answer"),
    [
        ("420028", True, "42001f"),  # what the own side takes
        ("420028", False, "42001f"),  # the lower one
        ("64000d", True, "64001f"),
        ("64000d", False, "64000d"),
        ("42f00b", False, "42f00b"),  # level 1b: above 1, below 1.1
        ("42f00b", True, "42e01f"),
        ("640009", False, "640009"),
        ("4d000a", False, "4d000a"),
    ],
)
def test_an_answer_keeps_the_profile_and_takes_a_level_both_can(offered, asymmetric, answer):
    made = answer_parameters(parameters("42e01f"), parameters(offered, asymmetric=asymmetric))
    assert made == parameters(answer, asymmetric=asymmetric)


def test_level_1b_of_the_answerer_is_lower_than_1_1_and_higher_than_1():
    own = parameters("42f00b", asymmetric=False)
    assert answer_parameters(own, parameters("42e00b")).profile_level_id == b"\x42\xf0\x0b"
    assert answer_parameters(own, parameters("64000b")).profile_level_id == b"\x64\x00\x09"
    assert answer_parameters(own, parameters("42e00a")).profile_level_id == b"\x42\xe0\x0a"


def test_an_answer_to_no_profile_says_its_own_and_the_other_way_round():
    own, bare = parameters("42e01f"), H264Parameters(packetization_mode=1)
    assert answer_parameters(own, bare).profile_level_id == b"\x42\xe0\x1f"
    assert answer_parameters(bare, own).profile_level_id == b"\x42\xe0\x1f"


@given(
    st.none() | st.binary(min_size=3, max_size=3),
    st.integers(0, 2),
    st.booleans(),
    st.lists(st.binary(min_size=1, max_size=40), max_size=4).map(tuple),
)
def test_what_is_written_is_read_again(identifier, mode, asymmetric, sets):
    wanted = H264Parameters(
        profile_level_id=identifier,
        packetization_mode=mode,
        level_asymmetry_allowed=asymmetric,
        parameter_sets=sets,
    )
    assert H264Parameters.parse(str(wanted)) == wanted


@given(st.text(max_size=60))
def test_any_text_is_read(text):
    H264Parameters.parse(text)
