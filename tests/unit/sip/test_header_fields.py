from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import LocalProtocolError
from callmeter.sip.header_fields import COMPACT_FORMS, Headers, header_key


def lines(headers):
    return [f"{name}: {value}" for name, value in headers]


@pytest.fixture
def headers():
    return Headers([("Via", "1"), ("v", "2"), ("X-Odd", "a, b"), ("VIA", "3"), ("To", "<sip:a>")])


@pytest.mark.parametrize(("short", "name"), COMPACT_FORMS.items())
def test_a_compact_name_is_its_long_name(short, name):
    headers = Headers([(short, "x")])
    assert headers.get(name) == headers.get(name.upper()) == headers.get(short.upper()) == "x"
    assert name in headers
    assert lines(headers) == [f"{short}: x"]


def test_blanks_round_a_name_make_no_other_header():
    headers = Headers([("Subject ", "x")])
    assert headers.get("Subject") == headers.get("s\t") == headers.get("SUBJECT ") == "x"
    headers.remove("subject")
    assert len(headers) == 0


def test_lines_keep_their_order_and_spelling(headers):
    assert lines(headers) == ["Via: 1", "v: 2", "X-Odd: a, b", "VIA: 3", "To: <sip:a>"]
    assert headers.get_all("via") == ["1", "2", "3"]
    assert headers.get("x-odd") == "a, b"
    assert headers.get("From") is None
    assert headers.get_all("From") == []


def test_comma_lists_are_split_over_all_lines():
    headers = Headers([("Supported", "a, b"), ("k", ""), ("Supported", "c,,d")])
    assert headers.values("Supported") == ["a", "b", "c", "d"]


@pytest.mark.parametrize("name", ["Date", "WWW-Authenticate", "Authorization", "Subject", "From"])
def test_headers_that_hold_commas_without_being_lists_are_not_split(name):
    headers = Headers([(name, "a, b"), (name, "c")])
    assert headers.values(name) == ["a, b", "c"]


def test_insert_puts_a_line_before_its_kind_or_on_top(headers):
    headers.insert("Via", "0")
    headers.insert("Route", "r")
    assert lines(headers)[:3] == ["Route: r", "Via: 0", "Via: 1"]


def test_set_replaces_all_lines_in_the_place_of_the_first(headers):
    headers.set("Via", "new")
    headers.set("From", "me")
    assert lines(headers) == ["Via: new", "X-Odd: a, b", "To: <sip:a>", "From: me"]


def test_remove_and_remove_first(headers):
    headers.remove_first("Via")
    assert headers.get_all("Via") == ["2", "3"]
    headers.remove("Via")
    headers.remove("Via")
    headers.remove_first("Via")
    assert "Via" not in headers
    assert lines(headers) == ["X-Odd: a, b", "To: <sip:a>"]


def test_a_copy_is_independent(headers):
    twin = headers.copy()
    twin.add("X", 5)
    assert twin.get("X") == "5"
    assert "X" not in headers
    assert twin != headers
    assert headers == headers.copy()


def test_lines_are_copied_octet_for_octet(headers):
    source = Headers.from_raw(["to"], [b"To"], [b'"\0\xff" <sip:a>'])
    headers.copy_lines(source, "To")
    assert headers.line_values[-1] == b'"\0\xff" <sip:a>'
    target = Headers()
    target.copy_lines(headers, "Via", first=True)
    assert lines(target) == ["Via: 1"]


def test_octets_are_appended_to_the_first_line_if_there_is_one(headers):
    headers.append_raw("To", b";tag=1")
    headers.append_raw("From", b";tag=1")
    assert headers.get("To") == "<sip:a>;tag=1"
    assert "From" not in headers


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\n", "\r", "a\0b", "\ud800"])
@pytest.mark.parametrize("change", ["add", "set", "insert"])
def test_a_line_break_or_nul_never_gets_into_a_header(headers, change, value):
    before = lines(headers)
    with pytest.raises(LocalProtocolError):
        getattr(headers, change)("Subject", value)
    assert lines(headers) == before


@pytest.mark.parametrize("name", ["", "A B", "A:", "A\r\n", "Ä", "(", "A\0"])
def test_a_name_that_is_no_token_is_refused(headers, name):
    assert header_key(name) is None
    with pytest.raises(LocalProtocolError):
        headers.add(name, "x")
    assert headers.get(name) is None
    assert name not in headers


def test_what_is_no_text_is_in_no_headers(headers):
    assert 5 not in headers
    assert headers.__eq__(5) is NotImplemented


def test_any_change_forgets_the_typed_values(headers):
    for change in (
        lambda: headers.add("A", "1"),
        lambda: headers.set("A", "2"),
        lambda: headers.insert("A", "3"),
        lambda: headers.remove_first("A"),
        lambda: headers.remove("A"),
        lambda: headers.append_raw("To", b";x"),
        lambda: headers.copy_lines(headers.copy(), "To"),
        lambda: headers.extend([("B", "1")]),
    ):
        headers.typed["x"] = 1
        change()
        assert headers.typed == {}


def test_a_head_is_split_when_first_needed():
    headers = Headers.from_head(b"\r\nVia: 1\r\nX-Odd:\t a:b \r\nTo:")
    assert headers.typed == {}
    assert lines(headers) == ["Via: 1", "X-Odd: a:b", "To: "]
    assert headers.line_keys == ["via", "x-odd", "to"]
    known = Headers.from_head(b"\r\nVia: 1\r\nTo: 2")
    assert known.get("t") == "2"
    with pytest.raises(AttributeError):
        headers.no_such_thing  # noqa: B018


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], "Content-Length: 2"),
        ([("l", "2")], "l: 2"),
        ([("l", "9"), ("X", "y")], "Content-Length: 2\r\nX: y"),
        ([("l", "2"), ("Content-Length", "2")], "Content-Length: 2"),
    ],
)
def test_the_content_length_is_computed(before, after):
    headers = Headers(before)
    assert headers.write(b"start", b"ab") == f"start\r\n{after}\r\n\r\nab".encode()
    assert lines(headers) == [f"{name}: {value}" for name, value in before]


def test_headers_show_their_names_alone():
    assert "s3cret" not in repr(Headers([("Authorization", "s3cret")]))


@given(st.lists(st.tuples(st.sampled_from(["v", "Via", "X", "to"]), st.text(max_size=4))))
def test_headers_agree_with_a_plain_list(pairs):
    pairs = [(n, v.strip(" \t")) for n, v in pairs if not set(v) & set("\r\n\0")]
    headers = Headers(pairs)
    assert list(headers) == pairs
    assert headers.get_all("Via") == [v for n, v in pairs if n in {"v", "Via"}]
    headers.remove("VIA")
    assert list(headers) == [(n, v) for n, v in pairs if n not in {"v", "Via"}]
