from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.metadata import PackageNotFoundError
from importlib.resources import files
from itertools import pairwise

import pytest

from callmeter.metrics.phases import Phase
from callmeter.metrics.report import CallReport, ErrorReport, Finding, FindingStatus, StreamReport
from callmeter.trace.html_report import html_report

ASSETS = files("callmeter.trace").joinpath("assets")
VENDORED = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
INVITE = "INVITE sip:bob@example.com SIP/2.0"
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "--></style><img src=x onerror=alert(1)>",
    "<!--<script>",
    "' onmouseover='alert(1)",
    '" autofocus onfocus="alert(1)',
    "\u2028alert(1)\u2029",
    "\udcff\udcfe",
    "&lt;b&gt;",
]


@pytest.mark.parametrize(("name", "digest"), VENDORED.items())
def test_the_chart_library_is_the_released_one(name, digest):
    octets = ASSETS.joinpath("uplot", name).read_bytes()
    assert hashlib.sha256(octets).hexdigest() == digest


def test_a_page_holds_all_that_the_report_does(call, wire, page):
    wire.request(0.0, "sent", INVITE, wall=1_700_000_000.0)
    wire.response(0.8, "received", "200 OK")
    found = page(html_report(call(), wire.log))
    for said in (
        "The call worked",
        "Answered after 812.0 ms, lasted 30.0 s.",
        "sip:bob@example.com",
        "2023-11-14 22:13:20 UTC",
        "200 (answered)",
        "Audio: Encrypted: SDES with AES_CM_128_HMAC_SHA1_80",
        "verified by the system",
        "Encrypted, certificate verified",
        "INVITE",
        "Jitter",
        "Metrics",
        "Hold count",
    ):
        assert said in found.text
    assert len(found.of("h1")) == 1
    assert found.of("html", lang="en")
    assert [tag for tag, _ in found.elements if tag in {"header", "main", "nav", "footer"}] == [
        "header",
        "main",
        "nav",
        "footer",
    ]
    names = {given["id"] for _, given in found.elements if "id" in given}
    for link in found.of("a"):
        assert link["href"].removeprefix("#") in names


def test_headings_step_down_one_by_one(call, wire, page):
    wire.request(0.0, "sent", INVITE)
    levels = [
        int(tag[1])
        for tag, _ in page(html_report(call(), wire.log)).elements
        if re.fullmatch("h[1-6]", tag)
    ]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_only_its_own_scripts_and_styles_may_run(call, wire, page):
    wire.request(0.0, "sent", INVITE)
    html = html_report(call(), wire.log)
    (policy,) = page(html).of("meta", **{"http-equiv": "Content-Security-Policy"})
    rules = dict(rule.strip().split(" ", 1) for rule in policy["content"].split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for name in ("script", "style"):
        own = re.findall(rf"<{name}>(.*?)</{name}>", html, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in own]
        allowed = [f"'sha256-{digest.decode()}'" for digest in digests]
        assert rules[f"{name}-src"].split() == allowed


def test_nothing_is_fetched_and_no_attribute_is_a_script_or_a_style(call, wire, page):
    wire.request(0.0, "sent", INVITE)
    found = page(html_report(call(), wire.log))
    for tag, given in found.elements:
        assert tag not in {"img", "iframe", "object", "embed", "link", "base", "form", "audio"}
        assert not {"src", "style", "srcdoc", "action", "ping"} & set(given)
        assert not [key for key in given if key.startswith("on")]
        assert given.get("href", "#").startswith("#")
    assert len(found.of("script")) == 3


@pytest.mark.parametrize("hostile", HOSTILE)
def test_whatever_a_peer_says_is_text(call, wire, page, hostile):
    wire.request(0.0, "sent", INVITE)
    usual = [tag for tag, _ in page(html_report(call(), wire.log)).elements]
    stream = StreamReport(
        kind=hostile, codec=hostile, profile=hostile, suite=hostile, remote=hostile, local=hostile
    )
    report = call(
        party=hostile,
        error=ErrorReport(hostile, hostile),
        diagnosis=(Finding(hostile, FindingStatus.FAIL, hostile, hostile),),
        media=(stream,),
        counters={"dtmf_method": hostile, hostile: 3},
    )
    said = hostile.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    wire.request(1.0, "received", INVITE, f"v=0\r\n{said}\r\n", headers=f"Subject: {said}\r\n")
    html = html_report(report, wire.log)
    assert html.encode()
    found = page(html)
    assert {tag for tag, _ in found.elements} <= {*usual, "ins", "del"}
    assert len(found.of("script")) == 3
    assert not [key for _, given in found.elements for key in given if key.startswith("on")]


def test_a_secret_is_in_no_page(call, wire):
    key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"
    wire.request(
        0.0,
        "sent",
        INVITE,
        f"v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n",
        headers='Authorization: Digest username="alice", response="deadbeefdeadbeef"\r\n',
    )
    html = html_report(call(), wire.log)
    assert key not in html
    assert "deadbeef" not in html


def test_the_page_of_an_hour_is_below_a_megabyte(call, wire, course):
    noise = {
        name: tuple(1.0 + (place * 7919 % 1000) / 997 for place in range(3600))
        for name in (
            "bytes_recv_rate_bps",
            "mos_lq",
            "mos_cq",
            "rtt_ms",
            "audio_level_rms",
            "srtp_decrypt_failures",
            "srtp_replayed",
            "srtp_old_key_packets",
            "max_packet_spacing",
        )
    }
    stream = StreamReport(codec="PCMU", series=course(3600, **noise))
    for number in range(200):
        body = f"v=0\r\no=- 1 {number} IN IP4 192.0.2.1\r\n" + "a=x:1 abcdefgh\r\n" * 60
        wire.request(float(number), "sent", INVITE, body, cseq=f"{number + 1} INVITE")
    html = html_report(call(media=(stream, stream)), wire.log)
    assert len(html.encode()) < 1_000_000
    points = json.loads(re.search(r'id="points">(.*?)</script>', html)[1])
    assert len(points["times"]["1"]) == 600


def test_a_call_without_media_or_messages_has_a_page_too(page):
    found = page(html_report(CallReport(phase=Phase.CALLING)))
    for said in ("No message was logged.", "There was no media.", "The call is calling"):
        assert said in found.text


def test_sources_without_a_release_make_a_page_too(call, monkeypatch, page):
    def unknown(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("callmeter.trace.html_report.version", unknown)
    assert "Made by callmeter. Passwords" in page(html_report(call())).text


def test_streams_of_one_kind_have_numbers(call, page):
    stream = StreamReport(codec="PCMU")
    found = page(html_report(call(media=(stream, stream))))
    assert "Audio 1, PCMU" in found.text
    assert "Audio 2, PCMU" in found.text
