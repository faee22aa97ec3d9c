"""What a failed test gets: a short traceback, the reports of its calls, their pages."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from callmeter.errors import CallmeterError
from callmeter.testing import failures
from callmeter.uri_settings import setting_uri


def report(name="test_x.py::test_it[tls-sdes]"):
    return SimpleNamespace(nodeid=name, sections=[], user_properties=[])


def test_an_error_of_callmeter_ends_where_the_test_called():
    with pytest.raises(CallmeterError) as caught:
        setting_uri("target", "sip:")
    deep = len(caught.traceback)
    failures.shorten(caught)
    assert len(caught.traceback) == 1 < deep
    assert caught.traceback[0].path.name == "test_failures.py"


def test_another_error_is_left_as_it_is():
    with pytest.raises(AttributeError) as caught:
        setting_uri("target", None)
    before = list(caught.traceback)
    failures.shorten(caught)
    assert list(caught.traceback) == before


async def test_each_call_is_told_once_whoever_made_it(phones):
    alice, bob, carol = await phones("alice"), await phones("bob"), await phones("carol")
    async with alice.call(bob.aor):
        pass
    async with carol.call(alice.aor) as call:
        pass
    failed = report()
    failures.explain(failed, [phones], None)
    titles = [title for title, _ in failed.sections]
    assert titles == ["the call of alice with bob", "the call of carol with alice"]
    assert all("SUCCESS" in text and "|- INVITE" in text for _, text in failed.sections)
    phones.told.add(call.call_id)
    failed = report()
    failures.explain(failed, [phones], None)
    assert ["|- INVITE" in text for _, text in failed.sections] == [True, False]
    assert failed.user_properties == []


async def test_only_the_last_calls_are_printed_and_all_get_pages(phones, tmp_path):
    alice, bob = await phones("alice"), await phones("bob")
    for _ in range(failures.SHOWN + 1):
        async with alice.call(bob.aor):
            pass
    failed = report()
    properties = failures.explain(failed, [phones], str(tmp_path / "pages"))
    assert len(failed.sections) == failures.SHOWN
    names = [path.name for path in sorted((tmp_path / "pages").iterdir())]
    assert names == [f"test_x.py-test_it-tls-sdes-{number}.html" for number in range(1, 6)]
    assert [name for name, _ in properties] == ["callmeter_page"] * 5


async def test_the_page_has_the_messages_of_both_ends(phones, tmp_path):
    alice, bob = await phones("alice"), await phones("bob")
    async with alice.call(bob.aor):
        pass
    failures.explain(report("test_y.py::test_z"), [phones], str(tmp_path))
    page = (tmp_path / "test_y.py-test_z.html").read_text(encoding="utf-8")
    assert "registrar" in page
    assert "bob" in page


async def test_without_calls_registrations_are_told(phones):
    await phones("alice")
    await phones("bob", register=False)
    failed = report()
    failures.explain(failed, [phones], None)
    ((title, drawn),) = failed.sections
    assert title == "messages of alice"
    assert "|- REGISTER" in drawn
