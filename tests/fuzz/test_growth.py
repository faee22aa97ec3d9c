"""The judge of how time grows with the input, which the tests of long inputs rely on."""

from __future__ import annotations

import re


def test_a_search_that_begins_anew_at_each_blank_is_a_square(grows_with_the_size):
    def search(data):
        return re.search(rb" +x", data)

    assert not grows_with_the_size(search, b" " * 1_000, b" " * 4_000)


def test_to_look_at_each_octet_once_is_no_square(grows_with_the_size):
    assert grows_with_the_size(bytes.split, b" " * 10_000, b" " * 40_000)
