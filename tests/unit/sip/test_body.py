from __future__ import annotations

import pytest

from callmeter.errors import SipSyntaxError
from callmeter.sip import Response
from callmeter.sip.body import multipart


def message(body, content_type="multipart/mixed;boundary=b"):
    headers = [("Content-Type", content_type)] if content_type else []
    return Response(200, headers=headers, body=body)


def nested(depth):
    body, inner = b"leaf", "text/plain"
    for level in range(depth, 0, -1):
        body = b"--%d\r\nContent-Type: %s\r\n\r\n%s\r\n--%d--" % (
            level,
            inner.encode(),
            body,
            level,
        )
        inner = f"multipart/mixed;boundary={level}"
    return message(body, inner)


def test_the_parts_of_a_body():
    parts = multipart(
        message(
            b"preamble\r\n--b\r\n"
            b"Content-Type: application/sdp\r\nX:  y\r\n\r\nv=0\r\n\r\n--b \t\r\n"
            b"\r\nplain\nbare\0\r\r\n--b\r\nContent-Type: text/html\r\n\r\n--b--\r\nepilogue"
        )
    )
    assert [part.body for part in parts] == [b"v=0\r\n", b"plain\nbare\0\r", b""]
    assert [part.content_type.media_type for part in parts] == [
        "application/sdp",
        "text/plain",
        "text/html",
    ]
    assert parts[0].headers.get("x") == "y"
    assert repr(parts[0]) == "<Part 5 octets, 0 parts>"


def test_a_boundary_ends_where_its_line_does():
    (part,) = multipart(message(b"--b\r\n\r\n--bb\r\n--b--x\r\nx--b\r\n--b--"))
    assert part.body == b"--bb\r\n--b--x\r\nx--b"


def test_an_empty_part_is_a_part():
    parts = multipart(message(b"--b\r\n--b\r\n\r\n--b--"))
    assert [part.body for part in parts] == [b"", b""]


def test_a_quoted_boundary_may_hold_blanks():
    parts = multipart(message(b"--a b\r\n\r\nx\r\n--a b--", 'multipart/x; boundary="a b"'))
    assert [part.body for part in parts] == [b"x"]


@pytest.mark.parametrize("content_type", [None, "application/sdp"])
def test_other_bodies_have_no_parts(content_type):
    assert multipart(message(b"--b\r\n\r\n--b--", content_type)) == []


def test_parts_may_have_parts():
    (outer,) = multipart(nested(3))
    assert outer.parts[0].parts[0].body == b"leaf"


def test_multiparts_nest_three_deep_at_most():
    with pytest.raises(SipSyntaxError, match="deeply"):
        multipart(nested(4))


@pytest.mark.parametrize("count", [16, 17])
def test_sixteen_parts_are_read_at_most(count):
    body = message(b"--b\r\n\r\nx\r\n" * count + b"--b--")
    if count == 16:
        assert len(multipart(body)) == 16
    else:
        with pytest.raises(SipSyntaxError, match="too many"):
            multipart(body)


def test_the_parts_of_all_levels_count():
    inner = b"--c\r\n\r\nx\r\n" * 10 + b"--c--"
    part = b"--b\r\nContent-Type: multipart/mixed;boundary=c\r\n\r\n" + inner + b"\r\n"
    assert len(multipart(message(part + b"--b--"))[0].parts) == 10
    with pytest.raises(SipSyntaxError, match="too many"):
        multipart(message(part * 2 + b"--b--"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b\r\n\r\nx",
        b"--b\r\n\r\nx\r\n--b-",
        b"--b--",
        b"--b\r\n\r\nx--b--",
        b"\r\n\r\n--c--",
    ],
)
def test_a_body_without_its_end_boundary_is_refused(body):
    with pytest.raises(SipSyntaxError, match="end boundary") as caught:
        multipart(message(body))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/mixed",
        "multipart/mixed;boundary",
        'multipart/mixed;boundary=""',
        'multipart/mixed;boundary="a "',
        "multipart/mixed;boundary=" + "a" * 71,
    ],
)
def test_a_boundary_has_to_be_usable(content_type):
    with pytest.raises(SipSyntaxError, match="no usable boundary"):
        multipart(message(b"--a--", content_type))


@pytest.mark.parametrize(
    "part", [b"no colon\r\n\r\nx", b"A B: x\r\n\r\n", b"X: a\nb\r\n\r\n", b" X: y\r\n\r\n"]
)
def test_a_part_with_malformed_headers_is_refused(part):
    with pytest.raises(SipSyntaxError) as caught:
        multipart(message(b"--b\r\n" + part + b"\r\n--b--"))
    assert caught.value.partial is None


def test_a_part_with_a_malformed_type_is_refused():
    with pytest.raises(SipSyntaxError, match="Content-Type"):
        multipart(message(b"--b\r\nContent-Type: x\r\n\r\n\r\n--b--"))
