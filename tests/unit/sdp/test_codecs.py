from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.config import Codec
from callmeter.errors import ConfigurationError, SdpSyntaxError
from callmeter.sdp.attributes import RtpMap
from callmeter.sdp.codecs import (
    STATIC_PAYLOAD_TYPES,
    PayloadFormat,
    find_format,
    formats_for,
    payload_formats,
    renumbered,
    select_formats,
    telephone_event,
)
from callmeter.sdp.description import Line, MediaDescription, MediaLine

PCMU = STATIC_PAYLOAD_TYPES[0]
PCMA = STATIC_PAYLOAD_TYPES[8]
OPUS = PayloadFormat(111, "opus", 48_000, 2, "useinbandfec=1")


def stream(port, formats, *attributes):
    media = MediaLine("audio", port, "RTP/AVP", tuple(formats.split()))
    return MediaDescription.build(media, [Line("a", text) for text in attributes])


def test_the_static_table_is_that_of_rfc_3551():
    assert STATIC_PAYLOAD_TYPES[9] == PayloadFormat(9, "G722", 8000)
    assert STATIC_PAYLOAD_TYPES[10].channels == 2
    assert STATIC_PAYLOAD_TYPES[34] == PayloadFormat(34, "H263", 90_000)
    assert all(number == item.payload_type for number, item in STATIC_PAYLOAD_TYPES.items())
    assert len(STATIC_PAYLOAD_TYPES) == 24


def test_formats_match_by_name_without_case_clock_rate_and_channels():
    assert PCMU.matches(PayloadFormat(99, "pcmu", 8000))
    assert not PCMU.matches(PayloadFormat(0, "PCMU", 16_000))
    assert not OPUS.matches(PayloadFormat(111, "opus", 48_000, 1))
    assert not PCMU.matches(PCMA)


def test_an_offer_lists_the_codecs_of_a_configuration_and_events_last():
    formats = formats_for((Codec.PCMA, Codec.PCMU), telephone_event_payload_type=101)
    assert [str(item.rtpmap) for item in formats] == [
        "8 PCMA/8000",
        "0 PCMU/8000",
        "101 telephone-event/8000",
    ]
    assert formats[2].fmtp == "0-15"
    assert formats[2].is_telephone_event


def test_an_offer_without_events_lists_codecs_only():
    assert formats_for(["PCMU"]) == (PCMU,)


def test_an_encoding_that_is_not_known_cannot_be_offered():
    with pytest.raises(ConfigurationError):
        formats_for(["G729"])


def test_an_offer_of_opus_has_events_of_both_clocks_and_its_own_parameters():
    opus = PayloadFormat(100, "opus", 48_000, 2, "useinbandfec=1")
    formats = formats_for(
        (Codec.OPUS, Codec.G722), telephone_event_payload_type=101, comfort_noise=True, opus=opus
    )
    assert [str(item.rtpmap) for item in formats] == [
        "100 opus/48000/2",
        "9 G722/8000",
        "13 CN/8000",
        "101 telephone-event/48000",
        "96 telephone-event/8000",
    ]
    assert formats[0].fmtp == "useinbandfec=1"
    assert str(formats_for(["opus"], comfort_noise=True)[-1].rtpmap) == "111 opus/48000/2"


def test_comfort_noise_is_answered_with_audio_of_its_clock_only():
    noise = STATIC_PAYLOAD_TYPES[13]
    fast = PayloadFormat(105, "CN", 16_000)
    assert select_formats((PCMU, noise, fast), (PCMU, noise)) == (PCMU, noise)
    assert select_formats((OPUS, noise), (OPUS, noise)) == (OPUS,)
    assert select_formats((noise,), (PCMU, noise)) == ()


def test_an_answer_keeps_the_order_and_numbers_of_the_offer():
    offered = (PayloadFormat(97, "iLBC", 8000), PayloadFormat(96, "pcma", 8000), PCMU)
    assert select_formats(offered, (PCMU, PCMA)) == (PayloadFormat(96, "pcma", 8000), PCMU)


def test_an_answer_states_its_own_format_parameters():
    offered = (PCMU, telephone_event(126, events="0-16"))
    assert select_formats(offered, (PCMU, telephone_event(101)))[1] == telephone_event(126)


def test_events_of_another_clock_rate_than_the_audio_are_left_out():
    offered = (PCMU, telephone_event(110, 48_000), telephone_event(126, 8000))
    supported = (PCMU, telephone_event(101, 8000), telephone_event(102, 48_000))
    assert [item.payload_type for item in select_formats(offered, supported)] == [0, 126]


def test_events_alone_are_no_answer_to_an_offer_of_audio():
    offered = (PayloadFormat(18, "G729", 8000), telephone_event(101))
    assert select_formats(offered, (PCMU, telephone_event(101))) == ()


def test_a_stream_offered_for_events_alone_is_answered():
    offered = (telephone_event(98),)
    assert select_formats(offered, (PCMU, telephone_event(101))) == offered


def test_a_format_offered_under_two_numbers_is_answered_once():
    offered = (PCMU, PayloadFormat(96, "PCMU", 8000))
    assert select_formats(offered, (PCMU,)) == (PCMU,)


def test_a_format_is_found_whatever_its_number():
    assert find_format((PCMA, PayloadFormat(99, "PCMU", 8000)), PCMU).payload_type == 99
    assert find_format((PCMA,), PCMU) is None


def test_formats_keep_the_numbers_they_had_in_the_session():
    bound = {96: telephone_event().key, 0: PCMU.key}
    numbers = [item.payload_type for item in renumbered((PCMU, telephone_event(101)), bound)]
    assert numbers == [0, 96]


def test_a_number_that_meant_something_else_is_not_taken_again():
    bound = {101: ("ilbc", 8000, 1)}
    assert renumbered((telephone_event(101),), bound)[0].payload_type == 96


def test_two_formats_of_one_codec_take_different_numbers():
    bound = {97: OPUS.key}
    numbers = [item.payload_type for item in renumbered((OPUS, OPUS, OPUS), bound)]
    assert numbers == [97, 111, 96]


def test_numbers_end_where_rtcp_would_be_mistaken_for_rtp():
    formats = [PayloadFormat(96, f"x{index}", 8000) for index in range(61)]
    numbers = [item.payload_type for item in renumbered(formats, {})]
    assert sorted(numbers) == [*range(35, 64), *range(96, 128)]
    with pytest.raises(ConfigurationError):
        renumbered([*formats, PayloadFormat(96, "y", 8000)], {})


@given(
    st.lists(st.builds(PayloadFormat, st.integers(0, 127), st.sampled_from("abc"), st.just(8000))),
    st.dictionaries(
        st.integers(0, 127), st.tuples(st.sampled_from("abcd"), st.just(8000), st.just(1))
    ),
)
def test_renumbering_never_breaks_a_binding(formats, bound):
    try:
        result = renumbered(formats, bound)
    except ConfigurationError:
        return
    numbers = [item.payload_type for item in result]
    assert len(set(numbers)) == len(numbers)
    assert all(bound.get(item.payload_type, item.key) == item.key for item in result)
    assert [item.key for item in result] == [item.key for item in formats]


def test_a_static_payload_type_needs_no_rtpmap():
    formats, notes = payload_formats(stream(4000, "0 8"))
    assert formats == (PCMU, PCMA)
    assert notes == ()


def test_a_dynamic_payload_type_takes_its_rtpmap_and_parameters():
    media = stream(4000, "96", "rtpmap:96 opus/48000/2", "fmtp:96 useinbandfec=1")
    assert payload_formats(media)[0] == (PayloadFormat(96, "opus", 48_000, 2, "useinbandfec=1"),)


def test_the_first_rtpmap_of_a_payload_type_counts():
    media = stream(4000, "96", "rtpmap:96 PCMU/8000", "rtpmap:96 PCMA/8000")
    assert payload_formats(media)[0][0].rtpmap == RtpMap(96, "PCMU", 8000)


def test_a_dynamic_payload_type_without_rtpmap_is_left_out_with_a_note():
    formats, notes = payload_formats(stream(4000, "0 97"))
    assert formats == (PCMU,)
    assert notes == ("payload type 97 has no a=rtpmap",)


def test_a_payload_type_without_rtpmap_may_be_known_from_the_offer():
    formats, _ = payload_formats(stream(4000, "111", "fmtp:111 stereo=1"), {111: OPUS})
    assert formats == (PayloadFormat(111, "opus", 48_000, 2, "stereo=1"),)


def test_a_payload_type_listed_twice_counts_once():
    formats, notes = payload_formats(stream(4000, "0 0"))
    assert formats == (PCMU,)
    assert notes == ("payload type 0 is listed twice",)


BAD = [
    ("128", ()),
    ("4294967296", ()),
    ("x", ()),
    ("96", ("rtpmap:96 PCMU/0",)),
    ("96", ("rtpmap:96 PCMU/384001",)),
    ("96", ("rtpmap:96 PCMU/8000/9",)),
    ("0", ("fmtp:4294967296 0-15",)),
    ("0", ("rtpmap:128 PCMU/8000",)),
]


@pytest.mark.parametrize(("formats", "attributes"), BAD)
def test_a_bad_number_in_a_stream_in_use_is_refused(formats, attributes):
    with pytest.raises(SdpSyntaxError):
        payload_formats(stream(4000, formats, *attributes))


@pytest.mark.parametrize(("formats", "attributes"), BAD)
def test_a_bad_number_in_a_refused_stream_is_passed_over(formats, attributes):
    found, _ = payload_formats(stream(0, formats, *attributes))
    assert found in {(), (PCMU,)}


def h264(payload_type, fmtp):
    return PayloadFormat(payload_type, "H264", 90_000, fmtp=fmtp)


OWN_VIDEO = formats_for(("VP8", "H264"))


def test_an_offer_of_video_has_h264_with_fragments_and_without():
    assert [(str(item.rtpmap), item.fmtp) for item in OWN_VIDEO] == [
        ("96 VP8/90000", None),
        ("97 H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e028"),
        ("98 H264/90000", "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e028"),
    ]


def test_h264_of_another_mode_or_profile_is_another_format():
    first = OWN_VIDEO[1]
    assert first.matches(h264(99, "packetization-mode=1; profile-level-id=42C028"))
    assert first.matches(h264(99, "packetization-mode=1"))
    assert not first.matches(OWN_VIDEO[2])
    assert not first.matches(h264(99, "packetization-mode=1; profile-level-id=64001f"))
    assert not first.matches(PayloadFormat(97, "H264", 48_000, fmtp=first.fmtp))
    assert not first.matches(OWN_VIDEO[0])
    assert len({item.key for item in OWN_VIDEO}) == 3


def test_a_browsers_video_is_answered_in_its_order_and_with_its_profiles():
    offered = (
        PayloadFormat(96, "VP8", 90_000),
        PayloadFormat(97, "rtx", 90_000, fmtp="apt=96"),
        h264(103, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"),
        h264(107, "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f"),
        h264(109, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
        h264(41, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=f4001f"),
        PayloadFormat(98, "VP9", 90_000, fmtp="profile-id=0"),
    )
    answered = select_formats(offered, OWN_VIDEO)
    assert [(item.payload_type, item.fmtp) for item in answered] == [
        (96, None),
        (103, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=420028"),
        (107, "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=420028"),
        (109, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e028"),
    ]
    assert all(item.matches(same) for item, same in zip(answered[1:], offered[2:5], strict=True))


def test_h264_without_parameters_is_answered_as_single_units():
    answered = select_formats((h264(99, None),), OWN_VIDEO)
    assert [item.fmtp for item in answered] == ["packetization-mode=0;profile-level-id=42e028"]


def test_h264_is_not_answered_by_what_is_no_h264_or_has_another_clock():
    assert select_formats((h264(99, None),), OWN_VIDEO[:1]) == ()
    assert select_formats((PayloadFormat(99, "H264", 8000),), OWN_VIDEO) == ()


def test_numbers_of_h264_formats_are_kept_by_mode():
    bound = {item.payload_type: item.key for item in OWN_VIDEO}
    turned = (OWN_VIDEO[2], OWN_VIDEO[1])
    assert renumbered(turned, bound) == turned
