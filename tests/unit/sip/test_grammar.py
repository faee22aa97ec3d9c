from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import SipSyntaxError
from callmeter.sip import grammar

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20)


@given(TEXT)
def test_quoting_is_undone_by_unquoting(text):
    assert grammar.unquote(grammar.quote(text)) == text


def test_control_characters_are_quoted_as_pairs():
    assert grammar.quote("a\0b\x7f") == '"a\\\0b\\\x7f"'


@pytest.mark.parametrize("text", ["", '"', "a", 'a"', '"a'])
def test_what_is_no_quoted_string_is_not_unquoted(text):
    assert grammar.unquote(text) == text


@given(st.binary(max_size=20))
def test_octets_survive_decoding_and_escaping(data):
    assert grammar.to_bytes(grammar.to_text(data)) == data
    assert grammar.unescape(grammar.escape_user(data)) == data


def test_escapes_are_undone_once():
    assert grammar.unescape("%25%34%31") == b"%41"
    assert grammar.unescape("%zz%4") == b"%zz%4"


def test_a_user_part_is_escaped_where_the_grammar_wants_it():
    assert grammar.escape_user("#31#") == "%2331%23"
    assert grammar.escape_user("+49;a=b") == "+49;a=b"
    assert grammar.escape_user("ä@") == "%C3%A4%40"


def test_equivalent_escapes_get_one_spelling():
    assert grammar.normal_escapes("%61lice%3b%3B") == "alice%3B%3B"


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("a", ["a"]),
        ("", [""]),
        ("a , b,", ["a", "b", ""]),
        ('"a,b" <sip:x>, <sip:c,d>', ['"a,b" <sip:x>', "<sip:c,d>"]),
        ('"a\\",b", c', ['"a\\",b"', "c"]),
        ('a, "b, c', ["a", '"b, c']),
        ('a, "b\\', ["a", '"b\\']),
        ("a, <b, c", ["a", "<b", "c"]),
    ],
)
def test_commas_separate_outside_quotes_and_brackets(text, elements):
    assert grammar.split_list(text) == elements


@given(st.lists(TEXT.map(grammar.quote), min_size=1, max_size=6))
def test_joining_quoted_elements_is_undone_by_splitting(elements):
    assert grammar.split_list(", ".join(elements)) == elements


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("", ()),
        ("  ", ()),
        (";a", (("a", None),)),
        (" ; a = b ;c \t", (("a", "b"), ("c", None))),
        (';a="x;y";b=[::1]:5', (("a", '"x;y"'), ("b", "[::1]:5"))),
        (";branch=z9hG4bK/+=@x", (("branch", "z9hG4bK/+=@x"),)),
    ],
)
def test_parameters_are_read_in_order(text, params):
    assert grammar.parse_params(text) == params


@pytest.mark.parametrize("text", [";", ";;a", ";a=", ";a;", ";a b", "a", ';a="b', ";a=b c", ";=a"])
def test_a_malformed_parameter_is_refused(text):
    with pytest.raises(SipSyntaxError, match="parameter"):
        grammar.parse_params(text)


def test_a_parameter_is_found_without_case_and_unquoted():
    params = (("A", '"x\\"y"'), ("b", None), ("a", "second"))
    assert grammar.find_param(params, "a") == 'x"y'
    assert grammar.find_param(params, "b") == ""
    assert grammar.find_param(params, "c") is None
    assert grammar.without_param(params, "a") == (("b", None),)
    assert grammar.param_text(params) == ';A="x\\"y";b;a=second'


@pytest.mark.parametrize(
    ("text", "host", "port", "end"),
    [
        ("a.example.com", "a.example.com", None, 13),
        ("a:5060;x", "a", 5060, 6),
        ("a : 5060", "a", 5060, 8),
        ("[2001:db8::1]:5061", "2001:db8::1", 5061, 18),
        ("under_score.", "under_score.", None, 12),
        ("192.0.2.1>", "192.0.2.1", None, 9),
    ],
)
def test_host_and_port_are_read(text, host, port, end):
    assert grammar.parse_host_port(text, 0) == (host, port, end)


@pytest.mark.parametrize(
    "text", ["", "-a", "a..b", "[::1", "[:::]", "[1.2.3.4]", "[]", "a:65536", ":5060", "[::g]"]
)
def test_a_malformed_host_is_refused(text):
    with pytest.raises(SipSyntaxError):
        grammar.parse_host_port(text, 0)


def test_an_ipv6_zone_is_refused():
    with pytest.raises(SipSyntaxError, match="IPv6"):
        grammar.check_ipv6("fe80::1%eth0")


def test_tokens_are_ascii():
    assert grammar.is_token("a-.!%*_+`'~9")
    assert not grammar.is_token("")
    assert not grammar.is_token("a b")
    assert not grammar.is_token("\u0661")


def test_an_excerpt_is_short_and_never_fails():
    assert grammar.excerpt("a" * 200) == b"a" * 80
    assert grammar.excerpt("\ud800x") == b"?x"
