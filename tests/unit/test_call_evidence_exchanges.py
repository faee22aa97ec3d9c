"""Whose wrong profile it is, and whether others can read the messages, by the log of a call."""

from __future__ import annotations

import pytest

from callmeter.call_evidence import signaling_facts
from callmeter.trace.message_log import MessageLog

INLINE = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
KEYS = {
    "sdes": f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}\r\n",
    "dtls": f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}\r\n",
}
KEYS["dual"] = KEYS["sdes"] + KEYS["dtls"]
DTLS, SDES = "UDP/TLS/RTP/SAVP", "RTP/SAVP"
INVITE, OK = "INVITE sip:c@d SIP/2.0", "SIP/2.0 200 OK"


def message(start, profile, keys):
    body = (
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
        f"m=audio 4000 {profile} 0\r\n{KEYS[keys]}"
    )
    return (
        f"{start}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
        "To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n"
        f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def facts(*entries, local="192.0.2.1:5060", peer="192.0.2.2:5060"):
    log = MessageLog()
    for direction, raw in entries:
        log.add(raw=raw, time=0.0, direction=direction, transport="UDP", local=local, peer=peer)
    return signaling_facts(tuple(log))


def exchange(offerer, offer, answer):
    answerer = "received" if offerer == "sent" else "sent"
    return (offerer, message(INVITE, *offer)), (answerer, message(OK, *answer))


@pytest.mark.parametrize("offerer", ["sent", "received"])
def test_a_new_offer_that_drops_the_fingerprint_and_keeps_the_profile_is_its_offerers(offerer):
    first = exchange(offerer, (DTLS, "dual"), (DTLS, "sdes"))
    assert facts(*first)["misfit_here"] is False
    again = exchange(offerer, (DTLS, "sdes"), (DTLS, "sdes"))
    assert facts(*first, *again)["misfit_here"] is (offerer == "sent")


@pytest.mark.parametrize("keys", ["dtls", "dual"])
def test_who_repeats_a_wrong_profile_did_not_bring_it_in(keys):
    theirs = exchange("received", (SDES, keys), (SDES, "dtls"))
    ours = exchange("sent", (SDES, "dtls"), (SDES, "dtls"))
    assert facts(*theirs, *ours)["misfit_here"] is False


def test_an_answer_of_another_profile_than_the_offer_brings_it_in():
    first = exchange("sent", (SDES, "sdes"), (DTLS, "sdes"))
    ours = exchange("sent", (DTLS, "sdes"), (DTLS, "sdes"))
    assert facts(*first, *ours)["misfit_here"] is False
    swapped = exchange("received", (SDES, "sdes"), (DTLS, "sdes"))
    theirs = exchange("received", (DTLS, "sdes"), (DTLS, "sdes"))
    assert facts(*swapped, *theirs)["misfit_here"] is True


@pytest.mark.parametrize(
    ("local", "peer", "crosses"),
    [
        ("192.0.2.1:5060", "192.0.2.2:5060", True),
        ("[2001:db8::1]:5060", "[2001:db8::2]:5060", True),
        ("127.0.0.1:5060", "127.0.0.2:5060", False),
        ("[::1]:5060", "[::1]:5070", False),
        ("192.0.2.1:5060", "192.0.2.1:5070", False),
        ("192.0.2.1:5060", "somewhere:5070", False),
    ],
)
def test_messages_to_another_host_can_be_read_on_the_way(local, peer, crosses):
    sent = ("sent", message(INVITE, SDES, "sdes"))
    assert facts(sent, local=local, peer=peer)["crosses_network"] is crosses


def test_no_message_crosses_no_network():
    assert facts()["crosses_network"] is False
