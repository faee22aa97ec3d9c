from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import SdpSyntaxError
from callmeter.sdp.grammar import decimal, folded, is_token, redacted, syntax_error, words

KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "+1", "-1", "1_0", "٣", "1e2", "0x1", "12345678901", "1\n"]
)
def test_a_number_is_ascii_digits_and_nothing_else(text):
    assert decimal(text, 0, 2**40) is None


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("65535", 65_535)])
def test_a_number_in_range_is_read(text, number):
    assert decimal(text, 0, 65_535) == number


def test_a_number_out_of_range_is_no_number():
    assert decimal("65536", 0, 65_535) is None
    assert decimal("0", 1, 8) is None


def test_words_are_cut_at_runs_of_ascii_blanks_only():
    assert words(" a \t b\u00a0c ") == ["a", "b\u00a0c"]
    assert words(" \t") == []


def test_folding_leaves_text_alone_that_would_fold_onto_ascii():
    assert folded("SHA-256") == "sha-256"
    assert folded("\u212aey") == "\u212aey"


@pytest.mark.parametrize("text", ["", "a b", "a/b", "a:b", "a=b", "é", 'a"b', "a\n"])
def test_a_token_has_no_separator_and_no_foreign_letter(text):
    assert not is_token(text)


def test_a_token_may_hold_marks():
    assert is_token("telephone-event.1+x!#~^_`{|}")


@pytest.mark.parametrize(
    "line",
    [
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY[:8]} {KEY}|2^20",
        f"a=crypto:1 INLINE:{KEY}",
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 uri:{KEY}",
        f"a=crypto :1 AES_CM_128_HMAC_SHA1_80 {KEY}",
        f"a=acap:1 crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"k=base64:{KEY}",
        f"a=ice-pwd:{KEY}",
        f"a=key-mgmt:mikey {KEY}",
        f"line:{KEY}|2^20",
        f"a=x:{KEY}==",
    ],
)
def test_keys_do_not_survive_redaction(line):
    assert KEY not in redacted(line)
    assert "***" in redacted(line)
    assert KEY.encode() not in syntax_error("bad", "RFC 8866", line).excerpt


def test_redaction_leaves_the_tag_and_suite_readable():
    assert (
        redacted(f"a=crypto:1 AEAD_AES_128_GCM inline:{KEY}") == "a=crypto:1 AEAD_AES_128_GCM ***"
    )
    assert redacted("a=rtpmap:0 PCMU/8000") == "a=rtpmap:0 PCMU/8000"


@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_an_error_can_be_made_of_any_line(line):
    error = syntax_error("bad", "RFC 8866 section 5", line)
    assert isinstance(error, SdpSyntaxError)
    assert len(error.excerpt) <= 80
