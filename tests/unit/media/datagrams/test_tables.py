"""The layout of the kernel's tables."""

from __future__ import annotations

import numpy as np

from callmeter.media.datagrams import tables


def test_the_tables_have_the_layout_of_the_kernel():
    assert tables.MESSAGE.itemsize == 64
    assert tables.VECTOR.itemsize == 16
    assert tables.CONTROL.fields["seconds"][1] == 16
    assert tables.CONTROL.fields["dropped"][1] == 48
    assert np.dtype(tables.CONTROL).itemsize == 56
