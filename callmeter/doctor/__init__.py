"""A check-up of a server: from its DNS records to a call with each kind of media keys."""

from __future__ import annotations

from callmeter.doctor.examination import Examination, Keys, examine
from callmeter.doctor.findings import Checkup

__all__ = ["Checkup", "Examination", "Keys", "examine"]
