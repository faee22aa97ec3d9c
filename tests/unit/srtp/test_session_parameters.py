from __future__ import annotations

import pytest

from callmeter.errors import SdesKeyError
from callmeter.srtp.session_parameters import SessionParameters

CLEAR = SessionParameters(unencrypted_srtp=True, unencrypted_srtcp=True, unauthenticated_srtp=True)


def parse(*texts):
    return SessionParameters.parse(texts)


def refusal(parameters, allowed=CLEAR, *, aead=False, whole=True):
    return parameters.refusal(allowed, aead=aead, whole=whole)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("KDR=1", SessionParameters(kdr=1)),
        ("KDR=24", SessionParameters(kdr=24)),
        ("UNENCRYPTED_SRTP", SessionParameters(unencrypted_srtp=True)),
        ("unencrypted_srtcp", SessionParameters(unencrypted_srtcp=True)),
        ("UNAUTHENTICATED_SRTP", SessionParameters(unauthenticated_srtp=True)),
        ("FEC_ORDER=FEC_SRTP", SessionParameters(fec_order="FEC_SRTP")),
        ("FEC_ORDER=SRTP_FEC", SessionParameters(fec_order="SRTP_FEC")),
        ("FEC_KEY=inline:AAAA", SessionParameters(fec_key=True)),
        ("WSH=64", SessionParameters(wsh=64)),
        ("-x=1", SessionParameters(unknown=("-x=1",))),
    ],
)
def test_each_parameter_is_understood(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "KDR=25",
        "KDR=01",
        "KDR",
        "KDR=\u0661",
        "UNENCRYPTED_SRTP=1",
        "WSH=63",
        "WSH=9",
        "WSH",
        "WSH=1000000000",
        "FEC_ORDER=BOTH",
        "FEC_ORDER",
        "FEC_KEY",
        "FEC_KEY=",
        "EXTRA",
        "",
    ],
)
def test_a_wrong_value_or_an_unknown_name_refuses_the_line(text):
    with pytest.raises(SdesKeyError):
        parse(text)


def test_an_unknown_name_is_shown_when_it_cannot_be_a_piece_of_a_key():
    with pytest.raises(SdesKeyError, match="NOBODY_KNOWS"):
        parse("NOBODY_KNOWS=1")
    with pytest.raises(SdesKeyError, match="of 20 characters"):
        parse("NzB4d1BINUAvLEw6UzF3=")


def test_a_parameter_twice_refuses_the_line():
    with pytest.raises(SdesKeyError, match="twice"):
        parse("WSH=64", "WSH=128")


def test_what_was_read_is_written_but_for_fec_keys_and_unknown_ones():
    texts = ("KDR=3", "UNENCRYPTED_SRTCP", "FEC_ORDER=SRTP_FEC", "WSH=256")
    assert parse(*texts, "-later", "FEC_KEY=inline:AAAA").to_texts() == texts


def test_an_answer_repeats_only_what_is_negotiated():
    parameters = parse("UNENCRYPTED_SRTCP", "WSH=256", "FEC_ORDER=SRTP_FEC", "-later")
    assert parameters.negotiated == SessionParameters(unencrypted_srtcp=True)


@pytest.mark.parametrize(
    "texts", [(), ("FEC_ORDER=FEC_SRTP",), ("WSH=1000",), ("-KDR=2",), ("UNENCRYPTED_SRTCP",)]
)
def test_what_can_be_honoured_is_not_refused(texts):
    assert refusal(parse(*texts)) is None


@pytest.mark.parametrize("text", ["KDR=0", "FEC_KEY=inline:AAAA"])
def test_what_cannot_be_done_is_refused_whatever_the_settings(text):
    assert refusal(parse(text)).startswith(text.partition("=")[0])


@pytest.mark.parametrize("text", ["UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP"])
def test_weaker_protection_needs_leave_and_a_library_that_can_do_it(text):
    parameters = parse(text)
    assert refusal(parameters, SessionParameters()) == f"{text} is not allowed by the settings"
    assert refusal(parameters) is None
    assert "cannot be asked" in refusal(parameters, whole=False)


def test_a_gcm_suite_cannot_go_without_its_tag():
    assert "RFC 7714" in refusal(parse("UNAUTHENTICATED_SRTP"), aead=True)
    assert refusal(parse("UNENCRYPTED_SRTCP"), aead=True) is None
