"""What was said on the wire: the message log, its redaction, and ladder diagrams."""

from callmeter.trace.ladder import ladder
from callmeter.trace.message_log import LoggedMessage, MessageLog, Selection
from callmeter.trace.redaction import redact

__all__ = ["LoggedMessage", "MessageLog", "Selection", "ladder", "redact"]
