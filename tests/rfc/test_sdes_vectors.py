"""RFC 4568 key lines: what is taken, what is passed over, and the offer/answer rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from callmeter import srtp
from callmeter.config import SrtpSuite
from callmeter.errors import NoCommonSuite, SdesKeyError, SdpSyntaxError
from callmeter.sdp.attributes import CryptoAttribute
from callmeter.srtp.sdes import parse_keys

LINES = json.loads((Path(__file__).parents[1] / "vectors" / "sdes_rfc4568.json").read_text())[
    "lines"
]
KNOWN = [row for row in LINES if row["valid"] and "F8_" not in row["line"]]
REFUSED = [row for row in LINES if not row["valid"]]
GOOD = "2 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw=="


def attribute(row):
    return CryptoAttribute.parse(row["line"].removeprefix("a=crypto:"))


def fresh(length):
    return bytes(255 - n for n in range(length))


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: row["line"][9:60])
def test_a_valid_line_says_what_the_rfc_says(row):
    line = srtp.CryptoLine.from_attribute(attribute(row))
    assert line.tag == row["tag"]
    assert line.keys[0].lifetime == row.get("lifetime")
    assert line.keys[0].mki == row.get("mki")
    assert line.keys[0].mki_length == row.get("mki_length", 0)
    expected = row.get("key_plus_salt", line.profile.master_length)
    assert len(line.keys[0].key_and_salt) == expected
    assert list(line.parameters.to_texts()) == row.get("session_params", [])
    assert line.refusal() is None


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: row["line"][9:60])
def test_a_valid_line_is_written_as_it_was_read(row):
    assert (
        f"a=crypto:{srtp.CryptoLine.from_attribute(attribute(row)).to_attribute()}" == row["line"]
    )


def test_an_f8_line_is_passed_over_and_the_rest_of_the_offer_kept():
    (row,) = [row for row in LINES if "F8_" in row["line"]]
    assert len(parse_keys(attribute(row).key_params)) == row["keys"]
    _, remote = srtp.accept_offer(
        [attribute(row), CryptoAttribute.parse(GOOD.replace("2", "3", 1))], list(SrtpSuite), fresh
    )
    assert remote.tag == 3


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["why"])
def test_a_wrong_line_is_refused(row):
    with pytest.raises((SdpSyntaxError, SdesKeyError)):
        srtp.CryptoLine.from_attribute(attribute(row))


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["why"])
def test_a_wrong_line_is_passed_over_and_alone_leaves_no_common_suite(row):
    try:
        offered = [attribute(row)]
    except SdpSyntaxError:
        offered = []
    with pytest.raises(NoCommonSuite):
        srtp.accept_offer(offered, list(SrtpSuite), fresh)
    local, remote = srtp.accept_offer(
        [*offered, CryptoAttribute.parse(GOOD)], list(SrtpSuite), fresh
    )
    assert (local.tag, remote.tag) == (2, 2)


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["why"])
def test_an_error_shows_no_piece_of_the_key(row):
    try:
        srtp.CryptoLine.from_attribute(attribute(row))
    except SdpSyntaxError:
        return
    except SdesKeyError as error:
        shown = f"{error} {error!r} {error.evidence}"
    keys = row["line"].partition(":")[2].partition(":")[2]
    pieces = [piece for piece in keys.replace("|", " ").split() if len(piece) > 8]
    assert not [
        piece for piece in pieces if piece[:8].upper() in shown.upper() and piece != "NOBODY_KNOWS"
    ]


def test_two_lines_with_one_tag_refuse_the_media_description():
    twice = [CryptoAttribute.parse(GOOD), CryptoAttribute.parse(GOOD)]
    with pytest.raises(NoCommonSuite, match="same tag"):
        srtp.accept_offer(twice, list(SrtpSuite), fresh)


def test_an_answer_that_reflects_the_offered_key_is_refused():
    offered = srtp.offer([SrtpSuite.AEAD_AES_128_GCM], fresh)
    with pytest.raises(SdesKeyError, match="sends back"):
        srtp.accept_answer(offered, [offered[0].to_attribute()])
