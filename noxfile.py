"""Everything that is checked, one session each: `nox` runs the default ones, `nox -l` lists all.

The package is built once as a wheel and tested as installed; the checkout is never imported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

import nox

ROOT = Path(__file__).resolve().parent
PYPROJECT = nox.project.load_toml("pyproject.toml")
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHER_PYTHONS = tuple(version for version in ("3.11", "3.12", "3.13") if version != RUNNING)

# Own tests wait more than they work: twice as many workers as processors. The peers of the interop
# tests are programs that want processors of their own.
PROCESSORS = os.cpu_count() or 1

FULLY_COVERED = ("sip", "sdp", "rtp", "srtp", "stun")
COVERED_FLOOR = 90

VIRTUAL_TIME_TESTS = ("tests/unit", "tests/rfc", "tests/scenario")
HARDENING = ("tests/scenario/test_dtls.py", "tests/asyncio/media_security")
OWN_TESTS = (*VIRTUAL_TIME_TESTS, "tests/fuzz", "tests/asyncio")

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = [
    "lint",
    "imports",
    "types",
    "tests",
    *(f"unit-{version}" for version in OTHER_PYTHONS),
    "interop",
    "docs",
    "demo",
    "newcomer",
    "failures",
]

LINES_OF_A_FAILURE = 100
LENGTH_OF_A_FAILURE = 200

_built: list[Path] = []
_results: list[tuple[str, Path]] = []


def _group(*names: str) -> list[str]:
    """Requirements of the dependency groups of pyproject.toml."""
    return [
        requirement
        for name in names
        for requirement in nox.project.dependency_groups(PYPROJECT, name)
    ]


def _wheel(session: nox.Session) -> Path:
    """The wheel of this checkout, built once per run."""
    if not _built:
        folder = Path(session.create_tmp()) / "wheel"
        shutil.rmtree(folder, ignore_errors=True)
        session.run(
            "python", "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), ".", silent=True
        )
        _built.extend(sorted(folder.glob("callmeter-*.whl")))
    return _built[0].resolve()


def _install(session: nox.Session, *requirements: str, extras: str = "cli,test") -> None:
    """Install the wheel with its extras and what the session needs besides."""
    wheel = _wheel(session)
    session.install(f"callmeter[{extras}] @ {wheel.as_uri()}", *requirements)
    # A reused environment may hold the wheel of an earlier checkout under the same version.
    session.install("--force-reinstall", "--no-deps", str(wheel))


def _pytest(session: nox.Session, *arguments: str, coverage: bool = False) -> None:
    """Run pytest on the installed package: no folder of the checkout is on the path."""
    runner = ["-m", "pytest"]
    if coverage:
        # By its absolute path: a bare name would mean the folder of the checkout.
        runner = ["-m", "coverage", "run", "--source", _installed(session), *runner]
    results = ROOT / ".nox" / f"results-{len(_results)}.xml"
    results.unlink(missing_ok=True)
    _results.append((session.name, results))
    runner += ["-q", f"--junitxml={results}"]
    session.run("python", "-P", *runner, *arguments, env={"PYTHONSAFEPATH": "1"})


def _chosen(session: nox.Session, *folders: str, workers: int = 2 * PROCESSORS) -> list[str]:
    """All tests of the folders by several workers, or those that the command line names."""
    if any(Path(argument.partition("::")[0]).exists() for argument in session.posargs):
        return list(session.posargs)
    return ["-n", str(workers), "--dist", "worksteal", *folders, *session.posargs]


def _installed(session: nox.Session) -> str:
    """Where the session's environment holds the package."""
    where = "import callmeter; print(callmeter.__path__[0])"
    told = session.run("python", "-P", "-c", where, silent=True)
    return str(told).strip()


def _announce(text: str) -> None:
    """Say what was not done so that nobody overlooks it."""
    bar = "!" * 78
    print(f"{bar}\n!! {text}\n{bar}", file=sys.stderr, flush=True)


def _interpreter(version: str) -> str | None:
    """A working interpreter of this version, from PATH or pyenv."""
    candidates = [shutil.which(f"python{version}")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(pyenv.glob(f"{version}.*"), reverse=True)
    candidates += [str(path / "bin" / "python") for path in found]
    probe = "import sys; print('{}.{}'.format(*sys.version_info))"
    for candidate in filter(None, candidates):
        try:
            told = subprocess.run(
                [candidate, "-c", probe], capture_output=True, text=True, timeout=20, check=False
            )
        except OSError:
            continue
        if told.stdout.strip() == version:  # a pyenv shim may stand there without a version
            return candidate
    return None


@nox.session
def lint(session: nox.Session) -> None:
    """Style, spelling, module sizes, and that tests/unit mirrors the package."""
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell", "callmeter", "tests", "docs", "benchmarks", "scripts", *_texts())
    session.run("python", "scripts/check_tree.py")


def _texts() -> list[str]:
    return [path.name for path in sorted(ROOT.glob("*.md"))]


@nox.session
def imports(session: nox.Session) -> None:
    """Which package may import which."""
    session.install(*_group("lint"))
    # lint-imports reads the modules where Python finds them; here that is the checkout.
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": str(ROOT)})


@nox.session
def types(session: nox.Session) -> None:
    """Strict mypy over the package, the noxfile and the public names."""
    _install(session, *_group("typing", "tests"), "nox", extras="cli,test,prometheus")
    session.run("mypy", "--strict")


@nox.session
def tests(session: nox.Session) -> None:
    """All own tests on this interpreter, with the coverage gates."""
    _install(session, *_group("tests"))
    session.run("coverage", "erase")
    _pytest(session, *_chosen(session, *OWN_TESTS), coverage=True)
    if session.posargs:
        return
    session.run("coverage", "combine", "-q")
    full = ",".join(f"callmeter/{package}/*" for package in FULLY_COVERED)
    session.run("coverage", "report", "--include", full, "--fail-under", "100", "--skip-covered")
    session.run("coverage", "report", "--omit", full, "--fail-under", str(COVERED_FLOOR))


def _register_unit(version: str) -> None:
    interpreter = _interpreter(version)

    if interpreter is None:

        @nox.session(name=f"unit-{version}", venv_backend="none")
        def not_found(session: nox.Session) -> None:
            """Say that this interpreter is not there."""
            _announce(f"NOT TESTED on Python {version}: no such interpreter on this machine")
            session.skip(f"no Python {version}")

    else:

        @nox.session(name=f"unit-{version}", python=interpreter)
        def unit(session: nox.Session) -> None:
            """Tests in virtual time on another interpreter."""
            _install(session, *_group("tests"))
            _pytest(session, *_chosen(session, *VIRTUAL_TIME_TESTS))


for _version in OTHER_PYTHONS:
    _register_unit(_version)


@nox.session
def interop(session: nox.Session) -> None:
    """Calls with programs nobody here wrote; a whole run writes what it has shown as JSON."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        session.run("scripts/install-peers", external=True)
    _install(session, *_group("tests"))
    matrix = Path(session.create_tmp()) / "matrix.json"
    # Sockets of the peers lie in the folders of the tests, and 108 octets are all a path may have.
    session.env.pop("TMPDIR", None)
    whole = () if session.posargs else ("--interop-matrix", str(matrix))
    _pytest(session, *_chosen(session, "tests/interop", workers=PROCESSORS), *whole)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a broken link or reference is an error."""
    _install(session, *_group("docs"))
    site = Path(session.create_tmp()) / "site"
    quiet = {"NO_MKDOCS_2_WARNING": "1"}
    session.run("mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site), env=quiet)


@nox.session
def demo(session: nox.Session) -> None:
    """What a newcomer types first, from the built wheel and outside the checkout."""
    _install(session, extras="cli")
    with session.chdir(session.create_tmp()):
        session.run("callmeter", "demo", "--report", "demo.html")


@nox.session
def newcomer(session: nox.Session) -> None:
    """A project with nothing but `callmeter[test]`: the first test of the guide, then broken."""
    _install(session, extras="test")
    guide = (ROOT / "docs" / "how-to" / "pytest.md").read_text(encoding="utf-8")
    test = guide.partition("```python\n")[2].partition("```")[0]
    # Not below the checkout, whose settings pytest would find.
    project = Path(tempfile.mkdtemp(prefix="callmeter-newcomer-"))
    (project / "test_secure.py").write_text(test, encoding="utf-8")
    # Bob takes no keys that alice would give.
    broken = test.replace('"bob", srtp=method', '"bob", srtp="none"')
    (project / "test_broken.py").write_text(broken, encoding="utf-8")
    with session.chdir(project):
        session.run("pytest", "test_secure.py")
        told = session.run(
            "pytest",
            "--callmeter-report",
            "pages",
            "test_broken.py",
            success_codes=[1],
            silent=True,
        )
        session.run("pytest", "-p", "no:callmeter", "--collect-only", "-q", "test_secure.py")
    shutil.rmtree(project)
    print(told)
    for words in ("3 failed", "FAIL ", "|- INVITE", "pages/test_broken.py-test_secure-dtls.html"):
        if words not in str(told):
            session.error(f"a test that fails does not print {words!r}")


@nox.session(venv_backend="none")
def failures(session: nox.Session) -> None:
    """What failed in the sessions before, once more: it stands where one looks first."""
    del session
    digest = []
    for name, results in _results:
        if not results.exists():
            continue
        # Written by pytest a moment ago, on this machine.
        for case in ET.parse(results).iter("testcase"):  # noqa: S314
            for found in (*case.iter("failure"), *case.iter("error")):
                lines = (found.text or "").splitlines()[-LINES_OF_A_FAILURE:]
                title = f"{name}: {case.get('classname')}::{case.get('name')}"
                _announce(title)
                print("\n".join(lines), file=sys.stderr, flush=True)
                message = " ".join((found.get("message") or "").split())
                digest.append(f"{title}: {message[:LENGTH_OF_A_FAILURE]}")
    for line in digest:
        print(line, file=sys.stderr, flush=True)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Benchmarks: all, or `nox -s bench -- benchmarks/macro/secure_calls.py --calls 200`."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        session.run("scripts/install-peers", external=True)
    _install(session, *_group("bench"))
    if session.posargs:
        session.run("python", "-P", *session.posargs)
        return
    scripts = sorted((ROOT / "benchmarks").glob("m[ai]cro/*.py"))
    for script in scripts:
        session.run("python", "-P", str(script))


@nox.session(default=False)
def soak(session: nox.Session) -> None:
    """The long form of the fuzz tests and of those marked slow."""
    _install(session, *_group("tests"))
    session.env["CALLMETER_LONG"] = "1"
    _pytest(session, "tests/fuzz", *session.posargs)
    _pytest(session, "-m", "slow", "tests/scenario", "tests/asyncio", *session.posargs)


@nox.session(default=False)
def hardening(session: nox.Session) -> None:
    """Media security at full length, each test with its figure: matrices, loss, hostile peers.

    `nox -s hardening -- tests/scenario/test_dtls.py` runs a part.
    """
    _install(session, *_group("tests"))
    session.env["CALLMETER_LONG"] = "1"
    _pytest(session, "-s", *(session.posargs or HARDENING))
