from __future__ import annotations

import pytest

from callmeter.trace.html_ladder import BUDGET, MAX_PARTIES, HtmlLadder, _body
from callmeter.trace.message_log import LoggedMessage
from callmeter.trace.sdp_changes import SdpLine

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"
SDP = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    "m=audio 4000 RTP/SAVP 0\r\n"
    f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\na=sendrecv\r\n"
)
INVITE = "INVITE sip:bob@example.com SIP/2.0"
PROXY = "192.0.2.9:5060"


@pytest.fixture
def drawn(wire, page):
    return lambda: page(HtmlLadder(tuple(wire.log)).markup())


def test_a_ladder_without_messages_says_so(drawn):
    assert drawn().text == "No message was logged."


def test_each_message_opens_by_itself_without_a_script(wire, drawn):
    wire.request(10.0, "sent", INVITE, SDP, headers="User-Agent: alice's phone\r\n")
    wire.response(10.25, "received", "180 Ringing", headers="Server: the PBX\r\n")
    wire.response(11.0, "received", "200 OK", SDP)
    found = drawn()
    assert len(found.of("details")) == len(found.of("summary")) == 3
    assert [item["class"] for item in found.of("li")] == [
        "message sent request",
        "message received info",
        "message received ok",
    ]
    for said in (
        "This side alice's phone 192.0.2.1:5060",
        "Peer the PBX 192.0.2.2:5060",
        "0.250 180 Ringing to INVITE , received over UDP, 192.0.2.2:5060 to 192.0.2.1:5060",
        "SDP: RTP/SAVP crypto",
        "Call-ID : one@example.com",
    ):
        assert said in found.text


def test_a_message_that_went_again_is_marked(wire, drawn):
    wire.request(0.0, "sent", INVITE)
    wire.request(0.5, "sent", INVITE)
    assert drawn().text.count("sent again") == 1


def test_messages_stand_in_the_order_of_time(wire, drawn):
    wire.response(1.0, "received", "200 OK")
    wire.request(0.0, "sent", INVITE)
    text = drawn().text
    assert text.index("INVITE sip:bob") < text.index("200 OK")


def test_what_a_side_changed_against_its_last_description_is_marked(wire, drawn):
    wire.request(0.0, "sent", INVITE, SDP)
    wire.response(0.1, "received", "200 OK", SDP.replace("4000", "5000"))
    wire.request(1.0, "sent", INVITE, SDP.replace("sendrecv", "sendonly"), cseq="2 INVITE")
    wire.response(1.1, "received", "200 OK", SDP.replace("4000", "5000"), cseq="2 INVITE")
    found = drawn()
    assert len(found.of("ins")) == len(found.of("del")) == 1
    assert "2 lines changed" in found.text
    assert found.text.count("The first session description of this side.") == 2
    assert found.text.count("is the same as before") == 1
    assert found.text.count("Marked: what differs") == 1


def test_answers_of_two_phones_are_not_compared_with_each_other(wire, drawn):
    wire.request(0.0, "sent", INVITE, SDP)
    for tag in ("b", "c"):
        wire.add(
            1.0,
            "received",
            (
                f"SIP/2.0 183 Session Progress\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n"
                f"From: <sip:a@example.com>;tag=a\r\nTo: <sip:b@example.com>;tag={tag}\r\n"
                "Call-ID: one@example.com\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n"
                f"Content-Length: {len(SDP)}\r\n\r\n{SDP.replace('4000', f'500{ord(tag) % 10}')}"
            ),
        )
    assert drawn().text.count("The first session description of this side.") == 3


def test_a_description_in_a_multipart_body_is_compared_too(wire, drawn):
    def body(port):
        sdp = SDP.replace("4000", port)
        return f"--x\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--x--\r\n"

    for number, port in enumerate(("4000", "4002"), 1):
        content = body(port)
        wire.add(
            number,
            "sent",
            f"{INVITE}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n"
            "From: <sip:a@example.com>;tag=a\r\nTo: <sip:b@example.com>\r\n"
            f"Call-ID: one@example.com\r\nCSeq: {number} INVITE\r\n"
            f"Content-Type: multipart/mixed;boundary=x\r\nContent-Length: {len(content)}\r\n\r\n"
            f"{content}",
        )
    found = drawn()
    assert len(found.of("ins")) == len(found.of("del")) == 1
    assert "--x--" in found.text


def test_secrets_are_left_out_even_where_the_log_kept_them(wire, page):
    wire.request(
        0.0,
        "sent",
        INVITE,
        SDP,
        headers='Authorization: Digest username="alice", response="cafecafecafe"\r\n'
        "User-Agent: x sip:a:hunter33@example.com\r\n",
    )
    kept = wire.log[0]
    raw = kept.raw.replace(b"[redacted 40 characters]", KEY.encode())
    entry = LoggedMessage(0.0, "sent", "UDP", kept.local, kept.peer, raw, kept.call_id)
    html = HtmlLadder((entry,)).markup()
    assert KEY not in html
    assert "hunter" not in html
    assert "cafecafe" not in html
    assert "Keys are left out: a new key alone does not show." in page(html).text


def test_a_message_nobody_can_read_is_shown_all_the_same(wire, drawn):
    wire.add(0.0, "received", b"\xff\xfe<script>alert(1)</script>\r\n\r\n\0")
    found = drawn()
    assert "Unreadable, 32 octets" in found.text
    assert "\ufffd\ufffd<script>alert(1)</script>" in found.text
    assert not found.of("script")


@pytest.mark.parametrize(
    "hostile",
    ["</pre></details><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u2028\u202e"],
)
def test_markup_in_a_message_stays_text(wire, drawn, hostile):
    body = SDP + f"a=x:{hostile}\r\n"
    wire.request(0.0, "received", INVITE, body, headers=f"User-Agent: {hostile}\r\n")
    wire.response(0.1, "sent", f"200 {hostile}", body.replace("sendrecv", "sendonly"))
    wire.request(0.2, "received", INVITE, f"{body}a=y:{hostile}\r\n", cseq="2 INVITE")
    found = drawn()
    assert not found.of("script")
    assert not found.of("img")
    assert all(not key.startswith("on") for _, given in found.elements for key in given)
    assert "\u202e" not in found.text


def test_the_kind_of_a_response_shows(wire, drawn):
    for status in ("302 Moved", "404 Not Found", "503 No", "603 Decline"):
        wire.response(0.0, "received", status)
    kinds = [item["class"].split()[-1] for item in drawn().of("li")]
    assert kinds == ["moved", "bad", "bad", "bad"]


def test_every_party_has_a_column_of_its_own(wire):
    wire.request(0.0, "sent", INVITE, peer=PROXY)
    wire.request(1.0, "received", "BYE sip:alice@192.0.2.1 SIP/2.0")
    wire.request(2.0, "sent", "OPTIONS sip:x SIP/2.0", peer="192.0.2.1:5060")
    ladder = HtmlLadder(tuple(wire.log))
    html, styles = ladder.markup(), ladder.styles()
    assert 'class="ladder crowded"' in html
    for name in ("right a0-1", "left a0-2", "self a0-0"):
        assert f'class="arrow {name}"' in html
        assert f".{name.split()[1]}{{" in styles
    assert "repeat(4" in styles


def test_two_parties_have_room_enough(wire):
    wire.request(0.0, "sent", INVITE)
    assert 'class="ladder"' in HtmlLadder(tuple(wire.log)).markup()


def test_the_clock_is_told_where_it_is_known(wire, drawn):
    wire.request(0.0, "sent", INVITE, wall=1_700_000_000.5)
    assert "2023-11-14 22:13:20.500 UTC" in drawn().text


def test_a_flood_of_messages_makes_no_endless_page(wire, drawn):
    for number in range(1500):
        wire.request(
            float(number),
            "received",
            INVITE,
            "v=0\r\na=x:<\u00e9\u6f22>\r\n" * 30,
            cseq=f"{number + 1} INVITE",
            peer=f"192.0.2.{number % 200}:5060",
            headers=f"User-Agent: {'<' * 99}\r\n",
        )
    html = HtmlLadder(tuple(wire.log)).markup()
    assert "later messages are left out: this page is kept small." in html
    assert "Left out: this page is kept small." in html
    assert len(html.encode()) < BUDGET + 10_000


def test_more_parties_than_columns_share_the_last_one(wire, drawn):
    for number in range(20):
        wire.request(float(number), "received", INVITE, peer=f"192.0.2.{number + 10}:5060")
    found = drawn()
    assert len([given for given in found.of("span") if "party" in given["class"]]) == MAX_PARTIES
    assert "Peer others" in found.text
    assert "192.0.2.29:5060 to 192.0.2.1:5060" in found.text


def test_a_body_in_which_the_description_is_not_found_is_shown_as_it_is():
    assert list(_body("as it came", [SdpLine("v=0")])) == ["as it came"]
