from __future__ import annotations

import copy
from itertools import product

import pytest

from callmeter.errors import LocalProtocolError, NegotiationError, NoCommonCodec
from callmeter.sdp.attributes import (
    Attribute,
    CryptoAttribute,
    Direction,
    Fingerprint,
    RtcpFb,
    Setup,
)
from callmeter.sdp.codecs import (
    STATIC_PAYLOAD_TYPES,
    PayloadFormat,
    formats_for,
    select_formats,
    telephone_event,
)
from callmeter.sdp.offer_answer import TRANSITIONS, Action, NegotiationState, OfferAnswer
from callmeter.sdp.parser import parse_description
from callmeter.sdp.profiles import Keying, RtpProfile
from callmeter.sdp.tracks import TrackAnswer, TrackOffer

PCMU = STATIC_PAYLOAD_TYPES[0]
PCMA = STATIC_PAYLOAD_TYPES[8]
FORMATS = formats_for(["PCMU", "PCMA"], telephone_event_payload_type=101)
CRYPTO = CryptoAttribute(1, "AES_CM_128_HMAC_SHA1_80", "inline:" + "A" * 40)
OTHER_CRYPTO = CryptoAttribute(1, "AES_CM_128_HMAC_SHA1_80", "inline:" + "B" * 40)
FINGERPRINT = Fingerprint("sha-256", ":".join(["AB"] * 32))

AUDIO = ("m=audio 5000 RTP/AVP 0 8 96", "a=rtpmap:96 telephone-event/8000")
VIDEO = ("m=video 5002 RTP/AVP 31",)
PLAIN_ANSWER = ("m=audio 5000 RTP/AVP 0",)


def session(number=1000):
    return OfferAnswer(session_id=number, address="192.0.2.1")


def description(*media, session_lines=(), timing="0 0", version=1):
    lines = [
        "v=0",
        f"o=- 1 {version} IN IP4 h",
        "s=-",
        "c=IN IP4 192.0.2.2",
        f"t={timing}",
        *session_lines,
        *media,
    ]
    return parse_description("".join(f"{line}\r\n" for line in lines).encode())


def offer(**changes):
    settings = {
        "port": 4000,
        "address": "192.0.2.1",
        "formats": FORMATS,
        "profile": RtpProfile.AVP,
        **changes,
    }
    return TrackOffer(**settings)


def answer(**changes):
    return TrackAnswer(**{"port": 4000, "address": "192.0.2.1", "formats": (PCMU,), **changes})


def answered(offered_media, given, **keywords):
    """The m= section a session answers `offered_media` with when it wants `given`."""
    negotiation = session()
    negotiation.receive_offer(description(*offered_media, **keywords))
    return negotiation.create_answer([given]).media[0]


def in_state(state):
    negotiation = session()
    if state is NegotiationState.LOCAL_OFFER:
        negotiation.create_offer([offer()])
    elif state is NegotiationState.REMOTE_OFFER:
        negotiation.receive_offer(description(*AUDIO))
    return negotiation


CALLS = {
    Action.CREATE_OFFER: lambda item: item.create_offer([offer()]),
    Action.RECEIVE_ANSWER: lambda item: item.receive_answer(description(*PLAIN_ANSWER)),
    Action.RECEIVE_OFFER: lambda item: item.receive_offer(description(*AUDIO)),
    Action.CREATE_ANSWER: lambda item: item.create_answer([answer()]),
    Action.ROLLBACK: lambda item: item.rollback(),
    Action.DECLINE: lambda item: item.decline(),
}


@pytest.mark.parametrize(("state", "action"), list(TRANSITIONS))
def test_every_listed_action_leads_to_the_listed_state(state, action):
    negotiation = in_state(state)
    CALLS[action](negotiation)
    assert negotiation.state is TRANSITIONS[state, action]


@pytest.mark.parametrize(
    ("state", "action"),
    [pair for pair in product(NegotiationState, Action) if pair not in TRANSITIONS],
)
def test_every_other_action_is_refused_and_changes_nothing(state, action):
    negotiation = in_state(state)
    before = negotiation.offer
    with pytest.raises(LocalProtocolError, match=action.value):
        CALLS[action](negotiation)
    assert negotiation.state is state
    assert negotiation.offer is before


def test_an_offer_is_a_whole_description():
    offered = session().create_offer([offer()], attributes=[Attribute("x")])
    assert offered.to_bytes().startswith(
        b"v=0\r\no=- 1000 1000 IN IP4 192.0.2.1\r\ns=callmeter\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
        b"a=x\r\nm=audio 4000 RTP/AVP 0 8 101\r\n"
    )
    assert parse_description(offered.to_bytes()) == offered


def test_a_session_id_that_leaves_no_room_for_versions_is_refused():
    for number in (0, -1, 2**62 - 1):
        with pytest.raises(LocalProtocolError):
            session(number)


def test_an_ipv6_session_says_so():
    offered = OfferAnswer(session_id=1, address="2001:db8::1").create_offer(
        [offer(address="2001:db8::1")]
    )
    assert "c=IN IP6 2001:db8::1" in str(offered)
    assert "o=- 1 1 IN IP6 2001:db8::1" in str(offered)


def test_the_agreed_descriptions_are_those_of_the_last_complete_exchange():
    negotiation = session()
    assert (negotiation.local, negotiation.remote, negotiation.offer) == (None, None, None)
    offered = negotiation.create_offer([offer()])
    assert (negotiation.local, negotiation.offer) == (None, offered)
    reply = description(*PLAIN_ANSWER)
    tracks = negotiation.receive_answer(reply)
    assert (negotiation.local, negotiation.remote, negotiation.offer) == (offered, reply, None)
    assert negotiation.remote_tracks == tuple(tracks)


def test_the_version_grows_by_one_only_when_the_description_changed():
    negotiation = session()
    versions = []
    for direction in ("sendrecv", "sendrecv", "sendonly", "sendonly", "sendrecv"):
        offered = negotiation.create_offer([offer(direction=Direction(direction))])
        versions.append(offered.origin.session_version)
        assert offered.origin.session_id == 1000
        negotiation.receive_answer(description(*PLAIN_ANSWER))
    assert versions == [1000, 1000, 1001, 1001, 1002]


def test_the_version_counts_over_answers_and_offers_alike():
    negotiation = session()
    negotiation.receive_offer(description(*AUDIO))
    first = negotiation.create_answer([answer()])
    negotiation.receive_offer(description(*AUDIO, version=2))
    second = negotiation.create_answer([answer()])
    third = negotiation.create_offer([offer()])
    numbers = [item.origin.session_version for item in (first, second, third)]
    assert numbers == [1000, 1000, 1001]


def test_a_version_once_sent_is_not_used_for_another_content_after_a_rollback():
    negotiation = session()
    negotiation.create_offer([offer()])
    negotiation.receive_answer(description(*PLAIN_ANSWER))
    held = negotiation.create_offer([offer(direction=Direction.SENDONLY)])
    negotiation.rollback()
    assert negotiation.offer is None
    assert negotiation.local.origin.session_version == 1000
    again = negotiation.create_offer([offer()])
    assert held.origin.session_version == 1001
    assert again.origin.session_version == 1002


def test_the_same_offer_after_glare_keeps_its_version():
    negotiation = session()
    first = negotiation.create_offer([offer()])
    negotiation.rollback()
    assert negotiation.create_offer([offer()]) == first


def test_a_declined_offer_leaves_what_was_agreed_on():
    negotiation = session()
    negotiation.receive_offer(description(*AUDIO))
    agreed = negotiation.create_answer([answer()])
    negotiation.receive_offer(description(*AUDIO, *VIDEO))
    negotiation.decline()
    assert negotiation.local is agreed
    assert len(negotiation.remote.media) == 1


def test_a_failed_answer_leaves_the_offer_open_for_another():
    negotiation = session()
    negotiation.create_offer([offer()])
    with pytest.raises(NoCommonCodec):
        negotiation.receive_answer(description("m=audio 5000 RTP/AVP 18"))
    assert negotiation.state is NegotiationState.LOCAL_OFFER
    assert negotiation.remote is None
    assert negotiation.receive_answer(description(*PLAIN_ANSWER))[0].port == 5000


@pytest.mark.parametrize("media", [(), (*PLAIN_ANSWER, *VIDEO)])
def test_an_answer_with_another_number_of_lines_is_refused(media):
    negotiation = session()
    negotiation.create_offer([offer()])
    with pytest.raises(NegotiationError, match="m= lines"):
        negotiation.receive_answer(description(*media))


def test_a_reoffer_keeps_every_line_and_disables_what_is_left_out():
    negotiation = session()
    negotiation.create_offer(
        [offer(), offer(kind="video", port=4002, formats=(PayloadFormat(31, "H261", 90_000),))]
    )
    negotiation.receive_answer(description(*PLAIN_ANSWER, *VIDEO))
    lines = [media.lines for media in negotiation.create_offer([offer()]).media]
    assert [str(line) for line in lines[1]] == ["m=video 0 RTP/AVP 31"]
    negotiation.receive_answer(description(*PLAIN_ANSWER, "m=video 0 RTP/AVP 31"))
    swapped = negotiation.create_offer([None, offer(), offer(port=4004)])
    assert [(media.kind, media.port) for media in swapped.media] == [
        ("audio", 0),
        ("audio", 4000),
        ("audio", 4004),
    ]


def test_a_line_in_use_cannot_change_its_media_type():
    negotiation = session()
    negotiation.create_offer([offer()])
    negotiation.receive_answer(description(*PLAIN_ANSWER))
    with pytest.raises(LocalProtocolError, match="cannot become video"):
        negotiation.create_offer([offer(kind="video")])
    assert negotiation.state is NegotiationState.STABLE


def test_a_first_offer_has_no_line_to_disable():
    with pytest.raises(LocalProtocolError):
        session().create_offer([None])


def test_a_reoffer_restates_the_numbers_the_other_side_chose():
    negotiation = session()
    negotiation.receive_offer(description(*AUDIO))
    negotiation.create_answer([answer(formats=(PCMU, telephone_event(96)))])
    media = negotiation.create_offer([offer()]).media[0]
    assert media.formats == ("0", "8", "96")
    assert "96 telephone-event/8000" in media.attributes_named("rtpmap")


def test_a_number_the_other_side_gave_another_meaning_is_not_reused():
    negotiation = session()
    negotiation.receive_offer(description("m=audio 5000 RTP/AVP 0 101", "a=rtpmap:101 iLBC/8000"))
    negotiation.create_answer([answer()])
    assert negotiation.create_offer([offer()]).media[0].formats == ("0", "8", "96")


def test_numbers_stay_bound_over_exchanges_that_left_them_out():
    negotiation = session()
    negotiation.receive_offer(description(*AUDIO))
    negotiation.create_answer([answer()])
    negotiation.receive_offer(description(*PLAIN_ANSWER))
    negotiation.create_answer([answer()])
    assert negotiation.create_offer([offer()]).media[0].formats == ("0", "8", "96")


def test_a_fork_negotiates_on_its_own():
    negotiation = session()
    negotiation.create_offer([offer()])
    fork = copy.copy(negotiation)
    assert negotiation.receive_answer(description(*PLAIN_ANSWER))[0].port == 5000
    assert fork.receive_answer(description("m=audio 6000 RTP/AVP 8"))[0].port == 6000
    assert negotiation.remote_tracks[0].port == 5000


def test_every_line_of_an_offer_is_answered_and_a_refusal_echoes_it():
    negotiation = session()
    negotiation.receive_offer(description(*AUDIO, "m=image 5004 udptl t38", "m=video 0 RTP/AVP"))
    with pytest.raises(LocalProtocolError, match="3 m= lines"):
        negotiation.create_answer([answer()])
    reply = negotiation.create_answer([answer(), None, None])
    assert [str(media.lines[0]) for media in reply.media] == [
        "m=audio 4000 RTP/AVP 0",
        "m=image 0 udptl t38",
        "m=video 0 RTP/AVP 0",
    ]
    assert reply.media[1].lines[1:] == ()


def test_the_protocol_of_an_answer_is_that_of_the_offer_letter_by_letter():
    media = answered(
        ("m=audio 5000 rtp/savp 0", f"a=crypto:{CRYPTO}"), answer(crypto=(OTHER_CRYPTO,))
    )
    assert media.protocol == "rtp/savp"


def test_the_times_of_an_answer_are_those_of_the_offer():
    negotiation = session()
    negotiation.receive_offer(description(*AUDIO, timing="3724394400 3724398000"))
    assert negotiation.create_answer([answer()]).timing == ("3724394400 3724398000",)


def test_an_offer_without_times_is_answered_with_an_unbounded_session():
    text = b"v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nc=IN IP4 h\r\nm=audio 5000 RTP/AVP 0\r\n"
    negotiation = session()
    negotiation.receive_offer(parse_description(text))
    assert negotiation.create_answer([answer()]).timing == ("0 0",)


@pytest.mark.parametrize(
    ("offered", "reply"),
    [
        ("sendrecv", "sendrecv"),
        ("sendonly", "recvonly"),
        ("recvonly", "sendonly"),
        ("inactive", "inactive"),
    ],
)
def test_a_hold_is_answered_with_what_it_allows(offered, reply):
    assert answered((*AUDIO, f"a={offered}"), answer()).has_attribute(reply)


def test_a_hold_by_address_is_answered_recvonly():
    assert answered((*AUDIO, "c=IN IP4 0.0.0.0"), answer()).has_attribute("recvonly")


def test_multiplexing_is_answered_only_where_it_was_offered():
    plain = answered(AUDIO, answer(rtcp_mux=True))
    assert not plain.has_attribute("rtcp-mux")
    assert plain.attribute("rtcp") == "4001"
    muxed = answered((*AUDIO, "a=rtcp-mux"), answer(rtcp_mux=True, rtcp_port=4001))
    assert muxed.has_attribute("rtcp-mux")
    assert not muxed.has_attribute("rtcp")


def test_only_offered_feedback_is_answered():
    pli, nack = RtcpFb(None, "nack", "pli"), RtcpFb(None, "nack")
    media = answered((*AUDIO, "a=rtcp-fb:0 nack"), answer(feedback=(pli, nack)))
    assert media.attributes_named("rtcp-fb") == ("0 nack",)


def test_packets_without_a_report_are_agreed_on_where_both_take_them():
    assert answered((*AUDIO, "a=rtcp-rsize"), answer(reduced_size=True)).has_attribute("rtcp-rsize")
    assert not answered((*AUDIO, "a=rtcp-rsize"), answer()).has_attribute("rtcp-rsize")
    assert not answered(AUDIO, answer(reduced_size=True)).has_attribute("rtcp-rsize")


def test_extended_reports_are_asked_for_in_one_line():
    media = answered(AUDIO, answer(extended_reports=("voip-metrics", "rcvr-rtt=all")))
    assert media.attribute("rtcp-xr") == "voip-metrics rcvr-rtt=all"
    assert not answered(AUDIO, answer()).has_attribute("rtcp-xr")


@pytest.mark.parametrize(
    ("offered", "own", "reply"),
    [
        ("a=setup:actpass", None, "active"),
        ("a=setup:actpass", Setup.PASSIVE, "passive"),
        ("a=setup:active", None, "passive"),
        ("a=setup:passive", None, "active"),
        ("a=setup:holdconn", None, "holdconn"),
        ("a=x", None, "passive"),
    ],
)
def test_the_role_in_an_answer_fits_the_offer(offered, own, reply):
    media = answered(
        ("m=audio 5000 UDP/TLS/RTP/SAVP 0", f"a=fingerprint:{FINGERPRINT}", offered),
        answer(fingerprints=(FINGERPRINT,), setup=own),
    )
    assert media.attribute("setup") == reply


def test_the_identification_tag_is_echoed_and_a_lone_stream_keeps_its_bundle():
    negotiation = session()
    negotiation.receive_offer(description(*AUDIO, "a=mid:a1", session_lines=("a=group:BUNDLE a1",)))
    reply = negotiation.create_answer([answer()])
    assert reply.media[0].attribute("mid") == "a1"
    assert reply.attribute("group") == "BUNDLE a1"


def test_two_streams_on_ports_of_their_own_are_not_bundled():
    negotiation = session()
    media = (*AUDIO, "a=mid:0", "m=audio 5000 RTP/AVP 0", "a=mid:1")
    negotiation.receive_offer(description(*media, session_lines=("a=group:BUNDLE 0 1",)))
    assert negotiation.create_answer([answer(), answer(port=4002)]).attribute("group") is None


def test_a_caller_may_group_and_tag_by_itself():
    negotiation = session()
    negotiation.receive_offer(description(*AUDIO, "a=mid:0", session_lines=("a=group:BUNDLE 0",)))
    reply = negotiation.create_answer(
        [answer(attributes=(Attribute("mid", "0"),))], attributes=[Attribute("group", "BUNDLE")]
    )
    assert reply.attributes_named("group") == ("BUNDLE",)
    assert reply.media[0].attributes_named("mid") == ("0",)


SECURE = (
    "m=audio 5000 RTP/SAVP 0",
    f"a=crypto:{CRYPTO}",
    f"a=fingerprint:{FINGERPRINT}",
    "a=setup:actpass",
)


@pytest.mark.parametrize(
    ("media", "given", "reason"),
    [
        (AUDIO, answer(port=0), "port 0"),
        (("m=audio 0 RTP/AVP 0",), answer(), "port 0"),
        (("m=audio 5000 TCP/RTP/AVP 0",), answer(), "RTP track"),
        (PLAIN_ANSWER, answer(formats=(PCMA,)), "payload type 8"),
        (AUDIO, answer(formats=(telephone_event(101),)), "payload type 101"),
        (AUDIO, answer(formats=(PayloadFormat(0, "PCMA", 8000),)), "payload type 0"),
        (SECURE, answer(crypto=(CRYPTO,), fingerprints=(FINGERPRINT,)), "not both"),
        (SECURE, answer(crypto=(CRYPTO, CRYPTO)), "one crypto line"),
        (SECURE, answer(crypto=(CryptoAttribute(2, "X", "inline:x"),)), "tag"),
        (AUDIO, answer(crypto=(CRYPTO,)), "tag"),
        (AUDIO, answer(fingerprints=(FINGERPRINT,)), "fingerprint"),
        (SECURE, answer(fingerprints=(FINGERPRINT,), setup=Setup.ACTPASS), "actpass"),
    ],
)
def test_an_answer_the_offer_does_not_allow_is_refused_and_the_offer_stays_open(
    media, given, reason
):
    negotiation = session()
    negotiation.receive_offer(description(*media))
    with pytest.raises(LocalProtocolError, match=reason):
        negotiation.create_answer([given])
    assert negotiation.state is NegotiationState.REMOTE_OFFER


@pytest.mark.parametrize(
    ("keys", "keying"),
    [
        ({"crypto": (OTHER_CRYPTO,)}, Keying.SDES),
        ({"fingerprints": (FINGERPRINT,)}, Keying.DTLS),
    ],
)
def test_a_dual_offer_ends_in_the_keys_the_answerer_picked(keys, keying):
    alice, bob = session(), session(7)
    offered = alice.create_offer(
        [offer(profile=RtpProfile.DTLS_SAVP, crypto=(CRYPTO,), fingerprints=(FINGERPRINT,))]
    )
    track = bob.receive_offer(parse_description(offered.to_bytes()))[0]
    assert track.keying is Keying.DUAL
    assert track.setup is Setup.ACTPASS
    reply = bob.create_answer([answer(formats=select_formats(track.formats, FORMATS), **keys)])
    agreed = alice.receive_answer(parse_description(reply.to_bytes()))[0]
    assert agreed.keying is keying
    assert agreed.profile is RtpProfile.DTLS_SAVP
    assert agreed.setup is (Setup.ACTIVE if keying is Keying.DTLS else None)
    assert agreed.notes == ()


def test_no_repr_of_a_negotiation_shows_a_key():
    negotiation = session()
    negotiation.create_offer([offer(crypto=(CRYPTO,), profile=RtpProfile.SAVP)])
    assert "A" * 40 not in repr(vars(negotiation))
