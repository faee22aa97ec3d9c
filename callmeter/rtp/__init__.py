"""RTP and RTCP without input or output (RFC 3550, 3551, 3611, 4585, 4733, 5104, 5761, 7983; G.711).

Packets of many streams are accounted for in numpy columns; reports, digits and codecs are pure
functions and small state machines. So is video (RFC 6184, 7741), packet by packet.
"""

from __future__ import annotations

from callmeter.rtp.demux import PacketKind, classify, classify_batch
from callmeter.rtp.early_feedback import EarlyFeedback
from callmeter.rtp.feedback import (
    FullIntraRequest,
    GenericNack,
    IntraRequest,
    PictureLossIndication,
    SliceLoss,
    SliceLossIndication,
)
from callmeter.rtp.header import RtpHeader, header_length, pack_header, parse_header
from callmeter.rtp.jitter_buffer import (
    JitterBufferSettings,
    JitterBufferStatistics,
    JitterBufferTable,
)
from callmeter.rtp.reception import ReceptionStatistics, SenderStatistics
from callmeter.rtp.report_schedule import ReportSchedule
from callmeter.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    UnknownRtcp,
    build_compound,
    parse_rtcp,
)
from callmeter.rtp.send_table import SendTable
from callmeter.rtp.stream_table import StreamTable
from callmeter.rtp.telephone_event import DIGITS, EventReceiver, EventSender
from callmeter.rtp.xr import ExtendedReport, ReferenceTime, StatisticsSummary, VoipMetrics

__all__ = [
    "DIGITS",
    "EarlyFeedback",
    "EventReceiver",
    "EventSender",
    "ExtendedReport",
    "FullIntraRequest",
    "GenericNack",
    "Goodbye",
    "IntraRequest",
    "JitterBufferSettings",
    "JitterBufferStatistics",
    "JitterBufferTable",
    "PacketKind",
    "PictureLossIndication",
    "ReceiverReport",
    "ReceptionStatistics",
    "ReferenceTime",
    "ReportBlock",
    "ReportSchedule",
    "RtpHeader",
    "SendTable",
    "SenderReport",
    "SenderStatistics",
    "SliceLoss",
    "SliceLossIndication",
    "SourceDescription",
    "StatisticsSummary",
    "StreamTable",
    "UnknownRtcp",
    "VoipMetrics",
    "build_compound",
    "classify",
    "classify_batch",
    "header_length",
    "pack_header",
    "parse_header",
    "parse_rtcp",
]
