"""What is refused, and in which words: RFC 3261 section 8.2."""

from __future__ import annotations

import pytest

from callmeter.sip.capabilities import capability_headers, inspect

MULTIPART = (
    b"--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
    b"--b\r\nContent-Type: application/SDP\r\n\r\nv=0\r\n--b--\r\n"
)


@pytest.mark.parametrize("method", ["INVITE", "BYE", "OPTIONS", "INFO"])
def test_a_served_method_passes(rig, method):
    assert inspect(rig.request(method)) is None


@pytest.mark.parametrize(
    ("method", "status"), [("MESSAGE", 405), ("REGISTER", 405), ("REFER", 405), ("FLY", 501)]
)
def test_a_method_that_is_not_served_is_told_which_are(rig, method, status):
    refusal = inspect(rig.request(method))
    assert refusal.status == status
    assert dict(refusal.headers)["Allow"] == "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO"


def test_a_registration_of_what_is_no_sip_address_is_a_bad_request(rig):
    request = rig.request("REGISTER")
    request.headers.set("To", "<isbn:2983792873>")
    assert inspect(request).status == 400


@pytest.mark.parametrize(
    ("uri", "status"), [("sips:a@b", None), ("tel:+15550100", None), ("soap.beep://x", 416)]
)
def test_only_sip_and_telephone_schemes_are_understood(rig, uri, status):
    refusal = inspect(rig.request("OPTIONS", uri=uri))
    assert (refusal and refusal.status) == status


def test_each_unknown_option_tag_that_is_required_is_listed(rig):
    refusal = inspect(
        rig.request("OPTIONS", headers=[("Require", "one, two"), ("Proxy-Require", "three")])
    )
    assert (refusal.status, refusal.headers) == (420, (("Unsupported", "one, two"),))


@pytest.mark.parametrize(
    ("accept", "accepted"),
    [
        ("application/sdp", True),
        ("text/plain, Application / SDP;q=0.5", True),
        ("application/*", True),
        ("*/*", True),
        ("text/plain", False),
        ("", False),
    ],
)
def test_an_invite_whose_answer_could_not_be_read_is_not_acceptable(rig, accept, accepted):
    refusal = inspect(rig.request(headers=[("Accept", accept)]))
    assert refusal is None if accepted else refusal.status == 406


def test_accept_matters_to_an_invite_only(rig):
    assert inspect(rig.request("OPTIONS", headers=[("Accept", "text/plain")])) is None


@pytest.mark.parametrize(("encoding", "status"), [("gzip", 415), ("Identity", None)])
def test_a_compressed_body_is_not_inflated(rig, encoding, status):
    refusal = inspect(rig.request("INFO", headers=[("Content-Encoding", encoding)]))
    assert (refusal and refusal.status) == status
    if refusal:
        assert refusal.headers == (("Accept-Encoding", "identity"),)


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/sdp", b"v=0", None),
        ("application/unknownformat", b"<audio>", 415),
        ("multipart/mixed;boundary=b", MULTIPART, None),
        ("multipart/mixed;boundary=b", MULTIPART.replace(b"SDP", b"xml"), 415),
        ("multipart/mixed;boundary=b", MULTIPART[:-8], 400),
        ("nonsense", b"v=0", 400),
        ("application/unknownformat", b"", None),
    ],
)
def test_a_body_must_hold_a_session_description(rig, content_type, body, status):
    refusal = inspect(rig.request(headers=[("Content-Type", content_type)], body=body))
    assert (refusal and refusal.status) == status
    if status == 415:
        assert refusal.headers == (("Accept", "application/sdp"),)


def test_a_body_without_a_type_is_refused(rig):
    request = rig.request(body=b"")
    request.body = b"v=0"
    assert inspect(request).status == 415


def test_a_body_that_may_be_ignored_is(rig):
    lines = [("Content-Type", "text/x"), ("Content-Disposition", "render; handling = Optional")]
    assert inspect(rig.request(headers=lines)) is None


def test_a_200_to_options_says_what_can_be_done():
    names = [name for name, _ in capability_headers()]
    assert names == ["Allow", "Accept", "Accept-Encoding", "Supported"]
