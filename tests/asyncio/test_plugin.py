"""The pytest plugin as its users have it: projects of their own, run by pytest."""

from __future__ import annotations

import itertools
import subprocess
import sys
from importlib import metadata
from itertools import pairwise

import pytest

SMALLEST = """
import pytest
from callmeter.testing.plugin import assert_secure

@pytest.mark.parametrize("method", ["sdes", "dtls", "dual"])
async def test_secure(registrar, endpoint, method):
    alice, bob = await endpoint("alice", srtp=method), await endpoint("bob", srtp=method)
    async with alice.call(bob.aor) as call:
        await call.media.play(seconds=1)
        assert_secure(call)
"""
INSTALLED = any(
    point.value == "callmeter.testing.plugin" for point in metadata.entry_points(group="pytest11")
)
LOADED = () if INSTALLED else ("-p", "callmeter.testing.plugin")


@pytest.fixture
def project(pytester):
    """A project whose pytest-asyncio has nothing to warn of."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    return pytester


@pytest.fixture
def run(project):
    def run(*arguments):
        return project.runpytest_inprocess(*LOADED, "-p", "no:cacheprovider", *arguments)

    return run


@pytest.fixture
def broken(project, run):
    """What is printed of a test that fails."""

    def broken(source, *arguments):
        project.makepyfile("from callmeter.testing.plugin import *\n" + source)
        result = run(*arguments)
        result.assert_outcomes(failed=1)
        return result.stdout

    return broken


# as it stands


def test_the_smallest_test_passes_in_a_project_without_a_line_of_configuration(pytester):
    pytester.makepyfile(SMALLEST)
    result = pytester.runpytest_subprocess(*LOADED)
    result.assert_outcomes(passed=3)
    assert result.ret == 0


def test_it_passes_under_xdist_too_and_keeps_pages_of_what_fails(project):
    project.makepyfile(SMALLEST + "        assert method == 'sdes'\n")
    result = project.runpytest_subprocess(*LOADED, "-n", "2", "--callmeter-report", "pages")
    result.assert_outcomes(passed=1, failed=2)
    pages = sorted(path.name for path in (project.path / "pages").iterdir())
    assert [name.endswith((".html",)) for name in pages] == [True, True]
    assert any("dtls" in name for name in pages)
    result.stdout.fnmatch_lines(["*callmeter: pages of the calls that failed*", "pages/*.html"])
    page = (project.path / "pages" / pages[0]).read_text(encoding="utf-8")
    assert "<html" in page
    assert "INVITE" in page


def test_a_file_for_junit_says_where_the_pages_are(project):
    project.makepyfile(SMALLEST.replace('"dtls", "dual"', "") + "        assert not call\n")
    arguments = ("--callmeter-report", "pages", "--junitxml", "results.xml")
    project.runpytest_subprocess(*LOADED, *arguments).assert_outcomes(failed=1)
    results = (project.path / "results.xml").read_text(encoding="utf-8")
    (page,) = (project.path / "pages").iterdir()
    assert results.count(f'<property name="callmeter_page" value="pages/{page.name}" />') == 1


def test_the_plugin_costs_no_import_of_callmeter():
    code = "import callmeter.testing.plugin, sys; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    ours = {name for name in told.stdout.split() if name.startswith("callmeter")}
    assert ours == {"callmeter", "callmeter.testing", "callmeter.testing.plugin"}
    assert "numpy" not in told.stdout.split()


def test_a_name_that_the_plugin_does_not_have_is_an_attribute_error():
    from callmeter.testing import plugin  # noqa: PLC0415

    assert plugin.assert_secure.__name__ == "assert_secure"
    with pytest.raises(AttributeError, match="has no attribute 'assert_loud'"):
        _ = plugin.assert_loud


# beside other runners


def test_a_coroutine_that_asks_for_nothing_of_ours_is_left_alone(project, run):
    project.makepyfile(
        """
        import pytest

        @pytest.fixture
        def call():
            return None

        async def test_of_somebody_else(call):
            pass
        """
    )
    result = run("-W", "ignore")
    result.stdout.fnmatch_lines(["*async def functions are not natively supported*"])


def test_pytest_asyncio_in_strict_mode_runs_fixtures_of_the_user_on_ours(project, run):
    project.makepyfile(
        """
        import pytest, pytest_asyncio

        @pytest_asyncio.fixture
        async def alice(endpoint):
            return await endpoint("alice")

        @pytest.mark.asyncio
        async def test_marked(alice, registrar):
            assert registrar.contacts("alice")

        class TestBare:
            async def test_it(self, alice, registrar):
                assert registrar.contacts("alice")
        """
    )
    run().assert_outcomes(passed=2)


def test_pytest_asyncio_in_automatic_mode_does_so_too(project, run):
    project.makepyfile(
        """
        import pytest

        @pytest.fixture
        async def alice(endpoint):
            return await endpoint("alice")

        async def test_one_stack_for_all(alice, endpoint, stack):
            bob = await endpoint("bob")
            assert alice.stack is bob.stack is stack
        """
    )
    run("-o", "asyncio_mode=auto").assert_outcomes(passed=1)


def test_anyio_runs_our_fixtures_in_the_tests_it_runs(project, run):
    project.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.anyio

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.fixture
        async def alice(endpoint):
            return await endpoint("alice")

        async def test_registered(alice, registrar, stack, endpoint):
            assert registrar.contacts("alice")

        async def test_own():
            pass
        """
    )
    run().assert_outcomes(passed=2)


def test_another_loop_than_that_of_the_fixtures_is_told_in_words(broken):
    printed = broken(
        """
import pytest

@pytest.mark.asyncio(loop_scope="module")
async def test_elsewhere(endpoint):
    await endpoint("alice")
"""
    )
    printed.fnmatch_lines(["*ConfigurationError: the test runs in another event loop than*"])


# what is printed


def test_an_assertion_prints_what_it_found_the_diagnosis_and_the_ladder(broken):
    printed = broken("async def test_clear(call):\n    assert_secure(call)\n")
    printed.fnmatch_lines(
        [
            ">*assert_secure(call)",
            "E*AssertionError: the call of alice with bob is not secure: audio runs in the clear*",
            "E*expected*SRTP on every stream",
            "E*because*policy is DISABLED",
            "E*diagnosis*no check found anything wrong",
            "E*alice*registrar*bob",
            "E*0.000*|- INVITE (SDP: RTP/AVP) -*",
            "*- the call of alice with bob -*",
            "Call with sip:bob@*: in progress",
        ],
        consecutive=False,
    )
    printed.no_fnmatch_line("*assertions.py*")
    # Under CI pytest's own summary repeats the whole error.
    shown = itertools.takewhile(lambda line: "short test summary" not in line, printed.lines)
    ladders = [line for line in shown if "|- INVITE" in line]
    assert len([line for line in ladders if "0.000" in line]) == 1


def test_an_error_of_callmeter_ends_in_the_line_of_the_test(broken):
    source = """
async def test_no_suite_in_common(endpoint):
    alice = await endpoint("alice", srtp="sdes", suite="AEAD_AES_128_GCM")
    bob = await endpoint("bob", srtp="sdes", suite="AES_CM_128_HMAC_SHA1_80")
    async with alice.call(bob.aor):
        pass
"""
    printed = broken(source)
    printed.fnmatch_lines(
        [
            ">*async with alice.call(bob.aor):",
            "E*NoCommonSuite: 488 Not Acceptable Here*",
            "*FAIL*suites_compatible*",
            "*|<- 488 Not Acceptable Here -*",
        ]
    )
    printed.no_fnmatch_line("*callmeter/call.py*")


def test_an_error_in_the_words_of_a_configuration_ends_there_too(broken):
    printed = broken('async def test_it(endpoint):\n    await endpoint("alice", ptime=33)\n')
    printed.fnmatch_lines(
        [">*await endpoint*", "E*ConfigurationError: ptime is 10, 20, 30, 40, 50 or 60 ms"]
    )
    for internal in ("phones.py", "endpoint_settings.py", "dataclasses.py", "<string>"):
        printed.no_fnmatch_line(f"*{internal}:*")


def test_a_way_to_answer_that_does_not_exist_is_told_in_the_line_that_gives_it(broken):
    printed = broken('async def test_it(endpoint):\n    await endpoint("bob", answer="486")\n')
    printed.fnmatch_lines([">*answer=*", "E*ConfigurationError: answer= is True, False, a status*"])
    printed.no_fnmatch_line("*answers.py:*")


def test_the_whole_traceback_is_there_for_the_asking(broken):
    source = 'async def test_it(endpoint):\n    await endpoint("alice", srpt="sdes")\n'
    broken(source, "--full-trace").fnmatch_lines(
        ["*endpoint_settings.py*", "*did you mean 'srtp'?*"]
    )


def test_without_a_call_the_messages_are_printed(broken):
    printed = broken(
        """
async def test_wrong_password(endpoint, registrar):
    alice = await endpoint("alice", register=False)
    registrar.add_account("alice", "another one")
    async with alice.registered():
        pass
"""
    )
    printed.fnmatch_lines(["*AuthenticationFailed*", "*messages of alice*", "*|<- 401 Unauth*"])


def test_what_goes_wrong_in_an_answering_function_fails_the_test(project, run):
    project.makepyfile(
        """
        async def test_answer(endpoint):
            async def answer(incoming):
                await incoming.answer()
                raise ValueError("of the test")

            alice, bob = await endpoint("alice"), await endpoint("bob", answer=answer)
            async with alice.call(bob.aor):
                pass
        """
    )
    result = run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ValueError: of the test", "*while sip:bob@* took a call*"])


def test_an_answering_function_that_fails_refuses_the_call_and_fails_the_test(project, run):
    project.makepyfile(
        """
        async def test_answer(endpoint):
            async def answer(incoming):
                raise ValueError("of the test")

            alice, bob = await endpoint("alice"), await endpoint("bob", answer=answer)
            async with alice.call(bob.aor):
                pass
        """
    )
    result = run()
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines_random(
        ["E*CallRejected: 500 answer= raised ValueError*", "E*ValueError: of the test"]
    )


# parameters, markers, options


def test_the_matrix_has_readable_names(project, run):
    project.makepyfile(
        """
        from callmeter.testing.plugin import callmeter_matrix

        @callmeter_matrix(transport=["udp", "tls"], keying=["none", "sdes"])
        async def test_it(call, case):
            assert case.transport in ("udp", "tls")
        """
    )
    result = run("-v", "-p", "no:randomly")
    result.assert_outcomes(passed=4)
    names = [f"*test_it?{name}? PASSED*" for name in ("udp-none", "udp-sdes", "tls-none")]
    result.stdout.fnmatch_lines(names)


def test_a_matrix_without_a_legal_combination_is_an_error_of_use(project, run):
    project.makepyfile(
        """
        from callmeter.testing.plugin import callmeter_matrix

        @callmeter_matrix(keying=["sdes"], policy=["disabled"])
        async def test_it(call):
            pass
        """
    )
    run().stdout.fnmatch_lines(["*no combination of these settings is legal*"])


def test_markers_set_what_endpoints_and_registrar_are_like(project, run):
    project.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.callmeter(transport="tls", srtp="sdes")

        @pytest.mark.callmeter(transport="tcp")
        @pytest.mark.callmeter_registrar(authenticate_calls=True)
        async def test_it(call):
            assert call.report().signaling.transport == "TCP"
            assert call.report().media[0].secure
            assert any(each.message.status == 407 for each in call.messages[1:2])
        """
    )
    run("--strict-markers").assert_outcomes(passed=1)


def test_without_a_target_its_tests_are_skipped_and_counted(project, run):
    project.makepyfile("async def test_one(target): pass\nasync def test_two(target): pass")
    result = run("-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(
        [
            "2 not run: no system under test, callmeter_target is not set",
            "*no system under test: set callmeter_target*",
        ]
    )


def test_the_target_comes_from_the_ini_file_and_its_password_from_the_environment(
    project, run, monkeypatch
):
    monkeypatch.setenv("CALLMETER_USER", "carol")
    monkeypatch.setenv("CALLMETER_PASSWORD", "christmas carol")
    project.makepyfile(
        """
        import pytest

        from callmeter import Transport

        async def test_it(target):
            assert target.uri == "sip:echo@pbx.test"
            assert target.settings.credentials.username == "carol"
            assert target.settings.endpoint["transport"] is Transport.TLS
            assert target.settings.endpoint["aor"] == "sip:carol@pbx.test"

        @pytest.mark.callmeter_target("sip:other@pbx.test", transport="udp", ptime=40)
        async def test_another(target):
            assert target.uri == "sip:other@pbx.test"
            assert target.settings.endpoint["transport"] is Transport.UDP
            assert target.settings.endpoint["ptime"] == 40
        """
    )
    options = ("callmeter_target=sip:echo@pbx.test", "callmeter_transport=tls")
    run(*(word for option in options for word in ("-o", option))).assert_outcomes(passed=2)


def test_the_fixtures_are_documented(run, project):
    project.makepyfile("def test_it(): pass")
    result = run("--fixtures")
    names = ("tls_authority", "case", "network", "stack", "registrar", "endpoint", "call", "target")
    lines = result.stdout.lines
    for name in names:
        described = [after for line, after in pairwise(lines) if line.startswith(f"{name} ")]
        assert described, name
        assert all(text.strip() and "no docstring" not in text for text in described)


def test_without_trustme_it_says_what_to_install(project, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "trustme", None)
    project.makepyfile("async def test_it(endpoint): pass")
    result = run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*pip install 'callmeter[[]test]'*"])
