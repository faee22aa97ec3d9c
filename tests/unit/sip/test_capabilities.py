"""What is refused, and in which words: RFC 3261 section 8.2."""

from __future__ import annotations

import pytest

from callmeter.errors import ConfigurationError
from callmeter.session_config import Extension, SessionTimerConfig
from callmeter.sip.capabilities import Capabilities

BASIC = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO"
TIMER = SessionTimerConfig(mode=Extension.SUPPORTED)
inspect = Capabilities().inspect

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
    assert dict(refusal.headers)["Allow"] == BASIC


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
    assert Capabilities().lines == (
        ("Allow", BASIC),
        ("Accept", "application/sdp"),
        ("Accept-Encoding", "identity"),
        ("Supported", ""),
    )


@pytest.mark.parametrize(
    ("settings", "methods", "tags"),
    [
        ({}, "", ""),
        ({"reliable": Extension.SUPPORTED}, ", PRACK", "100rel"),
        ({"session_timer": TIMER}, "", "timer"),
        ({"update": True}, ", UPDATE", ""),
        ({"refer": True}, ", REFER, NOTIFY", "replaces, norefersub"),
        ({"subscriptions": True}, ", NOTIFY", ""),
        ({"message": True}, ", MESSAGE", ""),
        ({"events": ("dialog",)}, ", SUBSCRIBE", ""),
    ],
)
def test_what_is_switched_on_is_told(settings, methods, tags):
    capabilities = Capabilities(**settings)
    lines = dict(capabilities.contact_lines)
    assert lines["Allow"] == BASIC + methods
    assert lines.get("Supported", "") == tags == dict(capabilities.lines)["Supported"]


def test_packages_are_told():
    capabilities = Capabilities(events=("dialog", "presence"), info_packages=("g.a", "g.b"))
    lines = dict(capabilities.lines)
    assert (lines["Allow-Events"], lines["Recv-Info"]) == ("dialog, presence", "g.a, g.b")


@pytest.mark.parametrize("redirects", [-1, 6])
def test_redirects_are_bounded(redirects):
    with pytest.raises(ConfigurationError, match="redirects"):
        Capabilities(redirects=redirects)


def test_an_extension_that_is_served_may_be_required(rig):
    request = rig.request(headers=[("Require", "100REL, timer")])
    refusal = Capabilities(reliable=Extension.SUPPORTED).inspect(request)
    assert (refusal.status, refusal.headers) == (420, (("Unsupported", "timer"),))
    both = Capabilities(reliable=Extension.SUPPORTED, session_timer=TIMER)
    assert both.inspect(request) is None


@pytest.mark.parametrize(
    ("lines", "to_tag", "refused"),
    [
        ([], None, True),
        ([("Supported", "100rel")], None, False),
        ([("Require", "100rel")], None, False),
        ([], "x", False),
    ],
)
def test_a_caller_that_lacks_a_required_extension_gets_421(rig, lines, to_tag, refused):
    refusal = Capabilities(reliable=Extension.REQUIRED).inspect(
        rig.request(headers=lines, to_tag=to_tag)
    )
    if refused:
        assert (refusal.status, refusal.headers) == (421, (("Require", "100rel"),))
    else:
        assert refusal is None


@pytest.mark.parametrize(("package", "status"), [("g.a;x=y", None), ("g.c", 469)])
def test_an_info_of_an_unknown_package_is_told_which_are_known(rig, package, status):
    refusal = Capabilities(info_packages=("g.a", "g.b")).inspect(
        rig.request("INFO", headers=[("Info-Package", package)])
    )
    assert (refusal and refusal.status) == status
    if refusal:
        assert refusal.headers == (("Recv-Info", "g.a, g.b"),)


def test_a_further_method_is_served_and_listed(rig):
    capabilities = Capabilities(further=("PUBLISH", "FLY"))
    assert capabilities.inspect(rig.request("FLY")) is None
    assert dict(capabilities.contact_lines)["Allow"] == f"{BASIC}, PUBLISH, FLY"


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "REGISTER", "A B", ""])
def test_a_method_with_a_meaning_of_its_own_is_no_further_one(method):
    with pytest.raises(ConfigurationError, match="no further method"):
        Capabilities(further=(method,))
