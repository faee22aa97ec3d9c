from __future__ import annotations

import contextlib
import itertools
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.config import DEFAULT_SUITES, SrtpSuite
from callmeter.errors import NoCommonSuite, SdesKeyError, SdpSyntaxError
from callmeter.sdp.attributes import CryptoAttribute
from callmeter.srtp import libsrtp
from callmeter.srtp.protection_profiles import SUPPORTED, for_suite
from callmeter.srtp.sdes import (
    CryptoLine,
    MasterKey,
    SessionParameters,
    accept_answer,
    accept_offer,
    generate,
    offer,
    parse_keys,
)

CM_80, CM_32, GCM_128 = DEFAULT_SUITES
KEY_30 = "inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"
KEY_28 = "inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw=="
CLEAR_SRTCP = SessionParameters(unencrypted_srtcp=True)


class Entropy:
    """Different octets every time."""

    def __init__(self):
        self._calls = itertools.count(1)

    def __call__(self, length):
        return bytes([next(self._calls)]) * length


def attribute(text):
    return CryptoAttribute.parse(text)


def attributes(*texts):
    return [attribute(text) for text in texts]


class TestKeys:
    @pytest.mark.parametrize(
        "text", [KEY_28, KEY_28.rstrip("="), KEY_28.replace("inline", "Inline")]
    )
    def test_padding_may_be_missing_and_is_written(self, text):
        key = MasterKey.parse(text, 28)
        assert key.key_and_salt == bytes(range(28))
        assert key.to_text() == KEY_28

    @pytest.mark.parametrize(
        "base64",
        ["", "=", "A", "AAAAA", "AAA==", "AA=", "AAAA=", "A=AA", "AAAA====", "AA-_", "AAé="],
    )
    def test_base64_that_was_cut_or_changed_is_refused(self, base64):
        with pytest.raises(SdesKeyError, match="base64"):
            MasterKey.parse(f"inline:{base64}")

    def test_a_wrong_length_says_both_lengths(self):
        with pytest.raises(SdesKeyError, match="28 octets long, the suite needs 30") as caught:
            MasterKey.parse(KEY_28, 30)
        assert caught.value.evidence == {"key_length": 28, "expected_length": 30}

    @pytest.mark.parametrize(
        ("text", "lifetime", "mki", "length"),
        [
            ("", None, None, 0),
            ("|2^20", 2**20, None, 0),
            ("|2^48", 2**48, None, 0),
            ("|1", 1, None, 0),
            ("|1000", 1000, None, 0),
            ("|1:4", None, 1, 4),
            ("|2^31|66051:4", 2**31, 66051, 4),
            (f"|{2**1024 - 1}:128", None, 2**1024 - 1, 128),
        ],
    )
    def test_lifetime_and_mki_are_read(self, text, lifetime, mki, length):
        key = MasterKey.parse(KEY_30 + text)
        assert (key.lifetime, key.mki, key.mki_length) == (lifetime, mki, length)
        assert len(key.mki_octets) == length
        assert MasterKey.parse(key.to_text()) == key

    def test_the_power_form_is_written_for_powers_of_two(self):
        assert MasterKey(bytes(30), lifetime=8).to_text().endswith("|2^3")
        assert MasterKey(bytes(30), lifetime=9, mki=5, mki_length=2).to_text().endswith("|9|5:2")

    @pytest.mark.parametrize(
        "text",
        [
            "|0",
            "|2^49",
            "|2^99999",
            "|9999999999999999",
            "|x",
            "|",
            "|-1",
            "|\u0661",
            "|2^2|",
            "|1:4|1:4",
            "|1:4|2^2",
            "|1:0",
            "|1:129",
            "|256:1",
            "|:4",
            "|1:",
            "|1:4:4",
            "|2^20|1:4|9",
        ],
    )
    def test_a_wrong_lifetime_or_mki_is_refused(self, text):
        with pytest.raises(SdesKeyError):
            MasterKey.parse(KEY_30 + text)

    def test_another_key_method_is_refused(self):
        with pytest.raises(SdesKeyError, match="not inline"):
            MasterKey.parse("uri:AAAA")

    def test_several_keys_are_told_apart_by_their_mki(self):
        first, second = parse_keys(f"{KEY_30}|1:2;{KEY_30}|2:2", 30)
        assert (first.mki_octets, second.mki_octets) == (b"\0\1", b"\0\2")

    @pytest.mark.parametrize(
        "text",
        [
            f"{KEY_30};{KEY_30}",
            f"{KEY_30}|1:2;{KEY_30}",
            f"{KEY_30}|1:2;{KEY_30}|2:4",
            f"{KEY_30}|1:2;{KEY_30}|1:2",
            ";".join(f"{KEY_30}|{n}:1" for n in range(17)),
            f"{KEY_30};",
        ],
    )
    def test_keys_that_cannot_be_told_apart_are_refused(self, text):
        with pytest.raises(SdesKeyError):
            parse_keys(text)


class TestLine:
    def test_a_line_is_read_and_written_with_the_standard_name(self):
        line = CryptoLine.from_attribute(attribute(f"7 AES_128_CM_HMAC_SHA1_80 {KEY_30} WSH=64"))
        assert (line.tag, line.profile.suite) == (7, CM_80)
        assert str(line.to_attribute()) == f"7 AES_CM_128_HMAC_SHA1_80 {KEY_30} WSH=64"

    def test_an_unknown_suite_is_named_in_the_evidence(self):
        with pytest.raises(SdesKeyError, match="not known") as caught:
            CryptoLine.from_attribute(attribute(f"1 AEAD_AES_128_GCM_8 {KEY_28}"))
        assert caught.value.evidence == {"suite": "AEAD_AES_128_GCM_8"}

    def test_a_bad_key_is_reported_with_tag_and_suite(self):
        with pytest.raises(SdesKeyError) as caught:
            CryptoLine.from_attribute(attribute(f"3 aes_cm_128_hmac_sha1_32 {KEY_28}"))
        assert caught.value.evidence["tag"] == 3
        assert caught.value.evidence["suite"] == "AES_CM_128_HMAC_SHA1_32"

    def test_no_repr_shows_a_key(self):
        secret = bytes(range(33, 63))
        line = CryptoLine(1, for_suite(CM_80), (MasterKey(secret),))
        shown = f"{line!r} {line} {line.keys!r} {line.to_attribute()!r}"
        assert "PyBBQkNE" not in shown
        assert '"#$%' not in shown
        assert line.keys[0].to_text()[7:20] not in shown

    def test_a_line_pickles(self):
        line = CryptoLine(1, for_suite(CM_80), (MasterKey(bytes(30)),))
        assert pickle.loads(pickle.dumps(line)) == line

    def test_an_mki_needs_the_whole_library(self):
        line = CryptoLine.from_attribute(attribute(f"1 {CM_80} {KEY_30}|1:4"))
        assert line.refusal() is None
        assert "MKI" in line.refusal(door=libsrtp.choose_door(None))

    def test_a_suite_the_library_lacks_is_refused(self):
        line = generate(for_suite(SrtpSuite.AES_256_CM_HMAC_SHA1_80), 1, Entropy())
        assert line.refusal() is None
        assert "lacks the suite" in line.refusal(door=libsrtp.choose_door(None))

    def test_session_parameters_are_asked_too(self):
        line = CryptoLine.from_attribute(attribute(f"1 {CM_80} {KEY_30} UNENCRYPTED_SRTCP"))
        assert "settings" in line.refusal()
        assert line.refusal(allowed=CLEAR_SRTCP) is None


@given(st.text(max_size=200))
def test_only_the_named_errors_leave_the_parser(text):
    with contextlib.suppress(SdesKeyError, SdpSyntaxError):
        CryptoLine.from_attribute(CryptoAttribute.parse(text))


@given(
    st.sampled_from(SUPPORTED),
    st.sampled_from([*KEY_30, "|", "2^", ";", "=", "1:1", " ", "\u0661"]).flatmap(
        lambda piece: st.lists(st.just(piece) | st.sampled_from("Aa1|:;^="), max_size=80)
    ),
)
def test_key_like_text_is_read_or_refused_by_name(profile, pieces):
    try:
        keys = parse_keys("inline:" + "".join(pieces), profile.master_length)
    except SdesKeyError:
        return
    assert all(len(key.key_and_salt) == profile.master_length for key in keys)


class TestOffer:
    def test_every_suite_gets_a_tag_in_order_and_a_key_of_its_own(self):
        lines = offer(DEFAULT_SUITES, Entropy())
        assert [(line.tag, line.profile.suite) for line in lines] == [
            (1, CM_80),
            (2, CM_32),
            (3, GCM_128),
        ]
        assert [len(line.keys[0].key_and_salt) for line in lines] == [30, 30, 28]
        assert len({line.keys[0].key_and_salt for line in lines}) == 3

    def test_suites_the_library_lacks_are_left_out_and_tags_stay_dense(self):
        suites = [SrtpSuite.AES_256_CM_HMAC_SHA1_80, CM_80]
        lines = offer(suites, Entropy(), door=libsrtp.choose_door(None))
        assert [(line.tag, line.profile.suite) for line in lines] == [(1, CM_80)]

    def test_session_parameters_go_on_every_line(self):
        lines = offer(DEFAULT_SUITES, Entropy(), parameters=CLEAR_SRTCP)
        assert all("UNENCRYPTED_SRTCP" in str(line.to_attribute()) for line in lines)


class TestAcceptingAnOffer:
    def test_our_order_decides_and_the_answer_repeats_tag_and_suite(self):
        offered = attributes(f"4 {CM_80} {KEY_30}", f"9 {GCM_128} {KEY_28}")
        local, remote = accept_offer(offered, [GCM_128, CM_80], Entropy())
        assert (local.tag, local.profile.suite) == (9, GCM_128)
        assert remote.keys[0].key_and_salt == bytes(range(28))
        assert local.keys[0].key_and_salt == b"\1" * 28

    def test_the_first_of_two_lines_of_a_suite_is_taken(self):
        offered = attributes(f"1 {CM_80} {KEY_30}|2^20", f"2 {CM_80} {KEY_30}")
        local, _ = accept_offer(offered, [CM_80], Entropy())
        assert local.tag == 1

    def test_lines_that_cannot_be_honoured_are_passed_over(self):
        offered = attributes(
            f"1 {CM_80} {KEY_28}", f"2 {CM_80} {KEY_30} KDR=1", f"3 {CM_32} {KEY_30}"
        )
        _, remote = accept_offer(offered, [CM_80, CM_32], Entropy())
        assert remote.tag == 3

    def test_two_lines_with_one_tag_refuse_the_whole_offer(self):
        offered = attributes(f"1 {CM_80} {KEY_30}", f"1 {GCM_128} {KEY_28}")
        with pytest.raises(NoCommonSuite, match="same tag"):
            accept_offer(offered, DEFAULT_SUITES, Entropy())

    def test_no_line_left_says_why_for_each_and_shows_no_key(self):
        offered = attributes(
            f"1 {CM_80} {KEY_28}", f"2 {CM_32} {KEY_30}", f"3 {CM_80} {KEY_30} UNENCRYPTED_SRTP"
        )
        with pytest.raises(NoCommonSuite) as caught:
            accept_offer(offered, [CM_80], Entropy())
        message = str(caught.value)
        assert "1 AES_CM_128_HMAC_SHA1_80: the inline key is 28 octets long" in message
        assert "2 AES_CM_128_HMAC_SHA1_32: the suite is not enabled" in message
        assert "3 AES_CM_128_HMAC_SHA1_80: UNENCRYPTED_SRTP is not allowed" in message
        assert "AAEC" not in message
        assert caught.value.offered == (CM_80, CM_32, CM_80)
        assert caught.value.supported == (CM_80,)
        assert isinstance(caught.value.__cause__, SdesKeyError)

    def test_weaker_protection_with_leave_is_repeated_in_the_answer(self):
        offered = attributes(f"1 {CM_80} {KEY_30} UNENCRYPTED_SRTCP WSH=256")
        local, remote = accept_offer(offered, [CM_80], Entropy(), allowed=CLEAR_SRTCP)
        assert local.to_attribute().session_params == ("UNENCRYPTED_SRTCP",)
        assert remote.parameters.wsh == 256

    def test_an_offer_that_repeats_its_key_gets_our_key_again(self):
        entropy = Entropy()
        first = accept_offer(attributes(f"1 {CM_80} {KEY_30}"), [CM_80], entropy)
        again, _ = accept_offer(attributes(f"5 {CM_80} {KEY_30}"), [CM_80], entropy, current=first)
        assert (again.tag, again.keys) == (5, first[0].keys)

    def test_an_offer_with_a_new_key_gets_a_new_key(self):
        entropy = Entropy()
        first = accept_offer(attributes(f"1 {CM_80} {KEY_30}"), [CM_80], entropy)
        other = KEY_30.replace("AAEC", "BBEC")
        again, _ = accept_offer(attributes(f"1 {CM_80} {other}"), [CM_80], entropy, current=first)
        assert again.keys != first[0].keys


class TestAcceptingAnAnswer:
    def test_the_accepted_line_and_the_peers_line_come_back(self):
        offered = offer(DEFAULT_SUITES, Entropy())
        local, remote = accept_answer(offered, attributes(f"2 {CM_32} {KEY_30}"))
        assert local == offered[1]
        assert remote.keys[0].key_and_salt == bytes(range(30))

    def test_a_renumbered_tag_is_followed_when_the_suite_is_unique(self):
        offered = offer(DEFAULT_SUITES, Entropy())
        local, _ = accept_answer(offered, attributes(f"1 {GCM_128} {KEY_28}"))
        assert local == offered[2]

    def test_a_renumbered_tag_is_refused_when_the_suite_was_offered_twice(self):
        offered = offer([CM_80, CM_80], Entropy())
        local, _ = accept_answer(offered, attributes(f"2 {CM_80} {KEY_30}"))
        assert local == offered[1]
        with pytest.raises(NoCommonSuite, match="no such line was offered"):
            accept_answer(offered, attributes(f"3 {CM_80} {KEY_30}"))

    def test_the_first_usable_of_several_lines_counts(self):
        offered = offer(DEFAULT_SUITES, Entropy())
        answered = attributes(
            f"1 {CM_80} {KEY_28}",
            f"9 {SrtpSuite.AEAD_AES_256_GCM} {KEY_30}",
            f"2 {CM_32} {KEY_30} KDR=1",
            f"3 {GCM_128} {KEY_28}",
            f"1 {CM_80} {KEY_30}",
        )
        local, _ = accept_answer(offered, answered)
        assert local.tag == 3

    def test_no_usable_line_says_why(self):
        offered = offer([CM_80], Entropy())
        with pytest.raises(NoCommonSuite, match="28 octets long") as caught:
            accept_answer(offered, attributes(f"1 {CM_80} {KEY_28}"))
        assert caught.value.supported == (CM_80,)

    def test_an_answer_without_lines_is_named(self):
        with pytest.raises(NoCommonSuite, match="has no a=crypto line"):
            accept_answer(offer([CM_80], Entropy()), [])

    def test_our_own_key_sent_back_is_refused_even_under_another_suite(self):
        offered = offer([CM_80, CM_32], Entropy())
        key = offered[0].keys[0].to_text()
        with pytest.raises(SdesKeyError, match="sends back") as caught:
            accept_answer(offered, attributes(f"2 {CM_32} {key}"))
        assert caught.value.evidence == {"tag": 2, "suite": "AES_CM_128_HMAC_SHA1_32"}

    def test_weaker_protection_that_was_not_offered_is_refused(self):
        offered = offer([CM_80], Entropy())
        with pytest.raises(NoCommonSuite, match="UNENCRYPTED_SRTCP"):
            accept_answer(offered, attributes(f"1 {CM_80} {KEY_30} UNENCRYPTED_SRTCP"))

    def test_weaker_protection_the_peer_does_not_repeat_is_given_up(self):
        offered = offer([CM_80], Entropy(), parameters=CLEAR_SRTCP)
        local, _ = accept_answer(offered, attributes(f"1 {CM_80} {KEY_30}"))
        assert not local.parameters.unencrypted_srtcp
        local, _ = accept_answer(offered, attributes(f"1 {CM_80} {KEY_30} UNENCRYPTED_SRTCP"))
        assert local.parameters.unencrypted_srtcp
