"""What every test folder shares: how long hypothesis searches."""

from __future__ import annotations

import os

from hypothesis import settings

# A loaded machine is slow; that is no fault of the input.
settings.register_profile("short", deadline=None, print_blob=True)
settings.register_profile("long", deadline=None, print_blob=True, max_examples=10_000)
settings.load_profile("long" if os.environ.get("CALLMETER_LONG") else "short")
