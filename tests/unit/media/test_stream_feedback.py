"""Feedback between streams of ours, and towards a peer that loses packets on purpose."""

from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.media.events import FeedbackReceived
from callmeter.media.stream_feedback import MAX_GAPS, MAX_QUEUED, MAX_SENDERS
from callmeter.rtp import (
    FullIntraRequest,
    GenericNack,
    IntraRequest,
    PacketKind,
    PictureLossIndication,
    ReceiverReport,
    SenderReport,
    SliceLossIndication,
    SourceDescription,
    build_compound,
    classify,
    parse_rtcp,
)
from callmeter.rtp.feedback import FeedbackCounts

LOOPBACK = "127.0.0.1"
ALL = frozenset({"nack", "nack pli", "nack sli", "ccm fir"})
PEER = 0xCAFE


@pytest.fixture
def hears(lab):
    """A stream, and the socket it hears sequence numbers from."""

    class Hearing:
        def __init__(self, **changes):
            self.peer = lab.socket()
            self.stream = lab.open()
            changes = {"feedback": ALL, "send": False} | changes
            self.stream.start(lab.parameters(self.peer, **changes))

        def say(self, *sequences, ssrc=PEER):
            for sequence in sequences:
                self.peer.sendto(lab.rtp(sequence, ssrc=ssrc), (LOOPBACK, self.stream.port))
                lab.run(0.02)

        def tell(self, *packets):
            self.peer.sendto(build_compound(packets), (LOOPBACK, self.stream.port))
            lab.run(0.04)

        def rtcp(self):
            found = lab.fetch_all(self.peer)
            return [parse_rtcp(one, reduced_size=True) for one in found if is_rtcp(one)]

        def nacks(self):
            return [
                packet.lost
                for packets in self.rtcp()
                for packet in packets
                if isinstance(packet, GenericNack)
            ]

    return Hearing


def is_rtcp(datagram):
    return classify(datagram) is PacketKind.RTCP


def test_a_gap_is_asked_for_within_a_few_packet_times(hears):
    hearing = hears()
    hearing.say(1, 2, 3, 6, 7, 8)
    (packets,) = hearing.rtcp()
    report, description, nack = packets
    assert isinstance(report, ReceiverReport)
    assert isinstance(description, SourceDescription)
    assert nack == GenericNack(hearing.stream.ssrc, PEER, (4, 5))
    assert hearing.stream.statistics().feedback_sent == FeedbackCounts(nack=1)


def test_where_it_was_agreed_a_nack_needs_no_report_around_it(hears):
    hearing = hears(reduced_size=True)
    hearing.say(1, 2, 4, 5, 6)
    assert hearing.rtcp() == [[GenericNack(hearing.stream.ssrc, PEER, (3,))]]


def test_a_packet_that_was_overtaken_is_not_asked_for(hears):
    hearing = hears()
    hearing.say(1, 2, 4, 3, 5, 6, 7)
    assert hearing.nacks() == []


def test_without_the_agreement_nothing_is_asked_for(hears):
    hearing = hears(feedback=frozenset({"nack pli"}))
    hearing.say(1, 2, 4, 5, 6)
    assert hearing.rtcp() == []
    assert hearing.stream._reports.next_deadline() is None


def test_early_packets_keep_their_distance_and_late_questions_are_dropped(hears, lab):
    hearing = hears()
    hearing.say(*(number for number in range(1, 100) if number % 10))
    asked = hearing.nacks()
    # A gap each 200 ms, and the bandwidth of RTCP gives room for one question in about a second.
    assert 1 <= len(asked) <= 4
    assert asked[0] == (10,)
    lab.run(10)
    assert all(lost != () for lost in hearing.nacks())


def test_a_regular_report_takes_along_what_waits(hears, lab):
    hearing = hears()
    hearing.say(1, 2, 4, 5, 6)
    hearing.stream.send_feedback("nack pli")
    assert [len(packets) for packets in hearing.rtcp()] == [3]
    lab.run(8)
    packets = hearing.rtcp()[0]
    assert packets[2] == PictureLossIndication(hearing.stream.ssrc, PEER)
    assert hearing.stream.statistics().feedback_sent == FeedbackCounts(nack=1, pli=1)


def test_gaps_of_a_source_that_is_gone_are_not_asked_for(hears):
    hearing = hears()
    hearing.say(1, 2)
    hearing.stream.on_gap(501, 2, 1000.0)
    hearing.say(500, 501, 502, 503, ssrc=7)
    assert hearing.nacks() == []


def test_a_flood_of_gaps_is_bounded(hears, lab):
    hearing = hears()
    hearing.say(1, 2)
    feedback = hearing.stream._reports.reporter.feedback
    for number in range(2 * MAX_GAPS):
        feedback.on_gap(number, 1, lab.loop.time(), hearing.stream._reports.reporter.schedule)
    assert len(feedback._gaps) == MAX_GAPS


def test_what_the_peer_asks_for_is_counted_and_told(hears, lab):
    hearing = hears(send=True)
    own = hearing.stream.ssrc
    hearing.tell(
        ReceiverReport(PEER),
        GenericNack(PEER, own, (7, 8)),
        PictureLossIndication(PEER, own),
        FullIntraRequest(PEER, (IntraRequest(own, 3),)),
        PictureLossIndication(PEER, own ^ 1),
    )
    assert hearing.stream.statistics().feedback_received == FeedbackCounts(nack=1, pli=1, fir=1)
    told = lab.events(hearing.stream, FeedbackReceived)
    assert [(event.kind, event.lost) for event in told] == [
        ("nack", (7, 8)),
        ("pli", ()),
        ("fir", ()),
    ]


@pytest.mark.parametrize("agreed", [True, False])
def test_a_message_without_a_report_is_taken_where_it_was_agreed(hears, agreed):
    hearing = hears(reduced_size=agreed)
    hearing.tell(PictureLossIndication(PEER, hearing.stream.ssrc))
    statistics = hearing.stream.statistics()
    assert statistics.feedback_received.pli == agreed
    assert statistics.dropped == ({} if agreed else {"rtcp_malformed": 1})


@pytest.mark.parametrize(
    ("kind", "kinds"),
    [
        ("nack pli", PictureLossIndication),
        ("nack sli", SliceLossIndication),
        ("ccm fir", FullIntraRequest),
    ],
)
def test_messages_can_be_sent_on_purpose(hears, lab, kind, kinds):
    hearing = hears(send=True)
    hearing.say(1, 2)
    hearing.stream.send_feedback(kind)
    lab.run(0.04)
    (packets,) = hearing.rtcp()
    assert isinstance(packets[0], SenderReport)
    assert isinstance(packets[2], kinds)


def test_a_nack_on_purpose_names_its_packets(hears, lab):
    hearing = hears(reduced_size=True)
    hearing.say(1, 2)
    hearing.stream.send_feedback("nack", lost=(1,))
    lab.run(0.04)
    assert hearing.nacks() == [(1,)]


def test_each_full_intra_request_has_the_next_number(hears, lab):
    hearing = hears(reduced_size=True)
    hearing.stream.send_feedback("ccm fir")
    hearing.stream.send_feedback("ccm fir")
    lab.run(0.04)
    ((first, second),) = hearing.rtcp()
    assert [first.requests[0].sequence, second.requests[0].sequence] == [0, 1]


def test_what_cannot_be_said_is_refused(hears, lab):
    hearing = hears(feedback=frozenset({"nack", "nack pli"}))
    for kind, lost in (("ccm fir", ()), ("nack", ()), ("nack pli", (3,))):
        with pytest.raises(LocalProtocolError):
            hearing.stream.send_feedback(kind, lost=lost)
    for _ in range(MAX_QUEUED):
        hearing.stream.send_feedback("nack pli")
    with pytest.raises(LocalProtocolError, match="wait already"):
        hearing.stream.send_feedback("nack pli")
    with pytest.raises(LocalProtocolError, match="running stream"):
        lab.open().send_feedback("nack pli")


def test_a_stream_that_says_goodbye_plans_nothing_more(hears):
    hearing = hears()
    hearing.say(1, 2)
    reporter = hearing.stream._reports.reporter
    reporter.schedule.stop()
    hearing.stream.send_feedback("nack pli")
    assert hearing.stream.next_deadline() is None


def test_a_full_intra_request_that_is_sent_again_is_told_as_repeated(hears, lab):
    hearing = hears()

    def ask(number, *, sender=PEER, own=hearing.stream.ssrc):
        report = ReceiverReport(sender)
        asked = (IntraRequest(0xF00D, 99), IntraRequest(own, number % 256))
        hearing.tell(report, FullIntraRequest(sender, asked))

    def asked(*numbers, **whom):
        before = len(lab.events(hearing.stream, FeedbackReceived))
        for number in numbers:
            ask(number, **whom)
        found = lab.events(hearing.stream, FeedbackReceived)
        return [event.repeated for event in found[before:]]

    assert asked(0, 0, 1, 1, 0) == [False, True, False, True, False]
    # The number space is that of one sender.
    assert asked(0, 0, sender=0xBEEF) == [False, True]
    assert asked(0) == [True]
    # About another stream it says nothing.
    assert asked(7, own=0xDEAD) == []
    assert hearing.stream.statistics().feedback_received.fir == 8
    for sender in range(MAX_SENDERS):
        asked(5, sender=sender)
    assert asked(0) == [False]
    assert len(hearing.stream._reports.reporter.feedback._intra_heard) == MAX_SENDERS
