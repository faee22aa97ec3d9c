"""Wrong messages: the rest of each stays as it was."""

from __future__ import annotations

import pytest

from callmeter.sip.parser import parse_message
from callmeter.testing.misbehaviour.kinds import Misbehaviour
from callmeter.testing.misbehaviour.messages import MessageFault

KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
CRYPTO = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"
GCM = f"a=crypto:2 AEAD_AES_128_GCM inline:{KEY[:38]}=="
AES_256 = f"a=crypto:3 AES_256_CM_HMAC_SHA1_80 inline:{KEY}{KEY[:24]}"
FINGERPRINT = "a=fingerprint:sha-256 " + ":".join(["4A"] * 32)
LINES = (
    "v=0",
    "o=- 1 1 IN IP4 192.0.2.1",
    "s=-",
    "c=IN IP4 192.0.2.1",
    "t=0 0",
    "m=audio 40000 RTP/SAVP 0",
    "a=setup:active",
    FINGERPRINT,
    CRYPTO,
    GCM,
    AES_256,
)


def message(body, *, start="SIP/2.0 200 OK", call_id="c1"):
    head = (
        f"{start}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"
        "From: <sip:a@192.0.2.1>;tag=1\r\nTo: <sip:b@192.0.2.2>;tag=2\r\n"
        f"Call-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return parse_message(head.encode() + body)


def body_of(*lines):
    return "".join(f"{line}\r\n" for line in lines or LINES).encode()


def written(kind, body=None, amount=None):
    """The lines that were altered, before and after."""
    body = body or body_of()
    fault = MessageFault(kind, kind.amount if amount is None else amount)
    parsed = parse_message(fault.write(message(body)))
    before, after = (text.decode().splitlines() for text in (body, parsed.body))
    return [line for line in before if line not in after], [
        line for line in after if line not in before
    ]


IN_MEDIA = [
    Misbehaviour.PLAIN_MEDIA,
    Misbehaviour.RESET_ROC,
    Misbehaviour.ONE_WAY,
    Misbehaviour.DROPPED_FLIGHT,
]


@pytest.mark.parametrize("kind", IN_MEDIA)
def test_what_is_wrong_with_media_is_not_in_the_messages(kind):
    assert written(kind) == ([], [])


@pytest.mark.parametrize("kind", Misbehaviour)
def test_a_message_without_a_description_is_left_alone(kind):
    plain = message(b"", start="SIP/2.0 180 Ringing")
    assert MessageFault(kind, kind.amount).write(plain) == plain.to_bytes()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (
            Misbehaviour.WRONG_FINGERPRINT,
            {FINGERPRINT: FINGERPRINT.replace("sha-256 4A", "sha-256 00")},
        ),
        (Misbehaviour.UNPADDED_KEY, {GCM: GCM[:-2]}),
        (
            Misbehaviour.MISSPELT_SUITE,
            {AES_256: AES_256.replace("AES_256_CM_HMAC", "AES_CM_256_HMAC")},
        ),
        (
            Misbehaviour.WRONG_PROFILE,
            {"m=audio 40000 RTP/SAVP 0": "m=audio 40000 UDP/TLS/RTP/SAVP 0"},
        ),
        (Misbehaviour.BOTH_ACTIVE, {"a=setup:active": "a=setup:passive"}),
        (
            Misbehaviour.MISSING_MKI,
            {CRYPTO: f"{CRYPTO}|1:4", GCM: f"{GCM}|1:4", AES_256: f"{AES_256}|1:4"},
        ),
        (
            Misbehaviour.EXPIRED_LIFETIME,
            {CRYPTO: f"{CRYPTO}|2^5", GCM: f"{GCM}|2^5", AES_256: f"{AES_256}|2^5"},
        ),
        (
            Misbehaviour.TRUNCATED_KEY,
            {CRYPTO: CRYPTO[:-4], GCM: GCM[:-4], AES_256: AES_256[:-4]},
        ),
    ],
)
def test_a_description_is_wrong_in_one_thing(kind, changes):
    assert written(kind) == (list(changes), list(changes.values()))


def test_a_fingerprint_that_begins_with_zeros_is_altered_too():
    zeros = FINGERPRINT.replace("sha-256 4A", "sha-256 00")
    assert written(Misbehaviour.WRONG_FINGERPRINT, body_of(*LINES[:6], zeros)) == (
        [zeros],
        [zeros.replace("sha-256 00", "sha-256 01")],
    )


def test_a_fingerprint_can_be_missing():
    assert written(Misbehaviour.MISSING_FINGERPRINT) == ([FINGERPRINT], [])


def test_an_offer_is_made_by_an_end_that_says_active_and_is_passive():
    offer = body_of(*LINES[:6], "a=setup:actpass")
    assert written(Misbehaviour.BOTH_PASSIVE, offer) == (["a=setup:actpass"], ["a=setup:active"])
    assert written(Misbehaviour.BOTH_ACTIVE, offer) == ([], [])


@pytest.mark.parametrize("tenth", ["X", "A"])
def test_one_character_of_a_key_is_altered(tenth):
    key = KEY[:10] + tenth + KEY[11:]
    line = CRYPTO.replace(KEY, key)
    _, [after] = written(Misbehaviour.ALTERED_KEY, body_of(*LINES[:6], line))
    assert sum(a != b for a, b in zip(line, after, strict=True)) == 1


def test_a_profile_with_feedback_stays_one():
    feedback = "m=audio 40000 RTP/SAVPF 0"
    assert written(Misbehaviour.WRONG_PROFILE, body_of(*LINES[:5], feedback, CRYPTO)) == (
        [feedback],
        ["m=audio 40000 UDP/TLS/RTP/SAVPF 0"],
    )


def test_padding_makes_a_message_large():
    fault = MessageFault(Misbehaviour.LARGE_MESSAGES, 1300)
    assert len(fault.write(message(body_of()))) > 1300 + len(body_of())


@pytest.mark.parametrize(("amount", "octets"), [(-6, -6), (3, 3), (-9999, None)])
def test_a_content_length_is_wrong_by_so_many_octets(amount, octets):
    body = body_of()
    data = MessageFault(Misbehaviour.CONTENT_LENGTH, amount).write(message(body))
    length = 0 if octets is None else len(body) + octets
    assert b"\r\nContent-Length: %d\r\n" % length in data
    assert data.endswith(body)


def test_the_first_copies_of_an_answer_are_lost():
    fault = MessageFault(Misbehaviour.LATE_ANSWER, 2)
    answer = message(body_of())
    assert [fault.write(answer) for _ in range(3)] == [b"\r\n\r\n", b"\r\n\r\n", answer.to_bytes()]
    offer = message(body_of(), start="INVITE sip:b@192.0.2.2 SIP/2.0", call_id="c2")
    assert fault.write(offer) == offer.to_bytes()
    progress = message(body_of(), start="SIP/2.0 183 Session Progress", call_id="c3")
    assert fault.write(progress) == progress.to_bytes()


def test_a_rekey_is_announced_in_all_descriptions_after_the_first():
    fault = MessageFault(Misbehaviour.IGNORED_REKEY, 0)
    first = message(body_of())
    second = message(body_of().replace(b"o=- 1 1", b"o=- 1 2"))
    assert fault.write(first) == fault.write(first) == first.to_bytes()
    altered = fault.write(second)
    assert KEY.encode() not in altered
    assert fault.write(second) == altered
    assert fault.write(first) == first.to_bytes()
