from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.trace.markup import Markup, element, joined, text, visible


def test_text_is_escaped_wherever_it_goes():
    hostile = "</p><script>alert(1)</script>\"'&"
    made = element("p", hostile, title=hostile)
    escaped = "&lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;"
    assert made == f'<p title="{escaped}">{escaped}</p>'
    assert joined([hostile, element("b", "&")], "<") == f"{escaped}&lt;<b>&amp;</b>"


def test_markup_stays_as_it_is():
    assert element("p", element("b", "x"), None, 3) == "<p><b>x</b>3</p>"
    assert isinstance(element("p"), Markup)
    assert text(Markup("<br>")) == "<br>"


def test_attributes_are_named_as_in_python():
    made = element("a", class_="x", aria_label="y", hidden=True, open=False, title=None, size=3)
    assert made == '<a class="x" aria-label="y" hidden size="3"></a>'


def test_an_element_without_contents_needs_no_end():
    assert element("meta", charset="utf-8") == '<meta charset="utf-8"/>'


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("a\0b", "a␀b"),
        ("a\x1bb", "a␛b"),
        ("a\u2028b\u2029", "a[U+2028]b[U+2029]"),
        ("\u202egpj.exe", "[U+202E]gpj.exe"),
        ("a\u200bb", "a[U+200B]b"),
        ("\x85", "[U+0085]"),
        ("\udcff", "[U+DCFF]"),
        ("a\rb", "a␍b"),
        ("a\r\n\tb", "a\n\tb"),
        ("\ufffd é 漢", "\ufffd é 漢"),
    ],
)
def test_nothing_is_hidden_and_nothing_turns_the_text_around(hidden, shown):
    assert visible(hidden) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_can_be_written_and_holds_no_tag(content):
    made = text(content)
    assert made.encode().decode() == made
    assert not {"<", ">", '"', "'", "\0", "\u2028"} & set(made)
