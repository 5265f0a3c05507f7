"""Every command for developers, as a nox session: `nox -l` lists them."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

import nox

HERE = Path(__file__).parent
PYPROJECT = nox.project.load_toml("pyproject.toml")
MEASURED = ".".join(map(str, sys.version_info[:2]))
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
CONSTRAINTS = "constraints.txt"
IMAGE = {
    "receiver.txt": ("pyproject.toml", "--extra=receiver", "--extra=postgres"),
    "build.txt": ("--group=build",),
}
"""What each file of deploy/image lists, as arguments of `uv pip compile`."""
PROCESSES = min(2 * (os.cpu_count() or 1), 4)
IN_PARALLEL = (f"--numprocesses={PROCESSES}", "--dist=worksteal")
"""pytest's options; more processes than cores, since tests wait half of their time."""
QUIETLY = (
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
    *("-W", "ignore:Unable to activate pytest branch coverage:RuntimeWarning"),
)
"""pytest's options against warnings of SlipCover, which need not measure the tests themselves."""
MEMORY_BYTES = 6 * 2**30
"""How much memory must be free to put the tests' files there: each process has a PostgreSQL."""

PATHS = ("tests/contract", "tests/client", "tests/receiver", "tests/simulation", "tests/project")

CONCURRENT = (
    "connections",
    "service/test_background.py",
    "service/test_clock.py",
    "service/test_decoding.py",
    "service/test_feed.py",
    "service/test_fleet.py",
    "service/test_group_commit.py",
    "service/test_ingest.py",
    "service/test_unresponsive_store.py",
    "service/test_watchdog.py",
    "web/test_body_timeout.py",
    "web/test_headers.py",
    "web/test_merge.py",
    "web/test_openapi.py",
    "web/test_routing.py",
    "web/event_stream",
    "web/agents/mcp",
)
"""
The tests of the receiver for another Python: those of the event loop, threads and annotations.

The rest is SQL, pure functions and templates, which are the same on each Python.
"""

AI_TOOL = "odoo-addon-ai-tool==19.0.1.0.0.2"
"""An addon of others, beside which ours is tested; it asks for an `odoo` that is no package."""

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "tests", "portable"]
nox.options.error_on_missing_interpreters = False
# uv makes an environment in a tenth of the time, where it is: pip install 'nox[uv]'
nox.options.default_venv_backend = "uv|virtualenv"


@nox.session
def tests(session: nox.Session) -> None:
    """The tests that need no Odoo and no browser; fails below the required branch coverage."""
    install(session, extras=["client", "receiver", "postgres"], groups=["tests"])
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    measured(session, *PATHS)


@nox.session(default=False)
def thorough(session: nox.Session) -> None:
    """Hypothesis tests with twenty times as many examples as in `tests`; half an hour."""
    install(session, extras=["client", "receiver", "postgres"], groups=["tests"])
    long = ("--hypothesis-profile=thorough", "-m", "hypothesis")
    session.run("pytest", *IN_PARALLEL, *long, *(session.posargs or PATHS))


@nox.session(python=PYTHONS, default=False)
def portable(session: nox.Session) -> None:
    """Short tests on each Python: contract, client, and on the newest some of the receiver."""
    install(session, compiled=False)
    session.run("python", "-I", HERE / "tests/project/bare.py")
    if session.python == MEASURED:
        session.log("The session `tests` runs the rest on this Python.")
        return
    extras, paths = ["client"], ["tests/contract", "tests/client"]
    # The Hypothesis strategies draw the same examples on each Python.
    paths += ["--ignore=tests/contract/test_strategies.py"]
    if session.python == PYTHONS[-1]:  # a version between this and MEASURED would find no more
        extras += ["receiver", "postgres"]
        paths += [f"tests/receiver/{name}" for name in CONCURRENT]
    install(session, extras=extras, groups=["tests"], compiled=False)
    # Each process imports and collects all tests anew, which takes a while beside these.
    few = ("--numprocesses=2", "--dist=worksteal")
    short = ("--hypothesis-profile=portable", "-m", "not serial and not postgresql")
    session.run("pytest", *few, *short, *(session.posargs or paths))


@nox.session(python=["3.10", MEASURED], default=False)
def lowest(session: nox.Session) -> None:
    """The tests with the oldest versions that pyproject.toml allows; needs uv."""
    extras, paths = ["client"], ["tests/contract", "tests/client"]
    if session.python != "3.10":
        extras += ["receiver", "postgres"]
        paths += ["tests/receiver"]
    oldest = Path(session.virtualenv.location) / "oldest.txt"
    session.run(
        *("uv", "pip", "compile", "pyproject.toml", "--resolution=lowest-direct"),
        *(f"--extra={extra}" for extra in extras),
        *(f"--python-version={session.python}", "--quiet", f"--output-file={oldest}"),
        external=True,
    )
    groups = nox.project.dependency_groups(PYPROJECT, "tests")
    session.env.update({"PYTHONSAFEPATH": "1", "UV_COMPILE_BYTECODE": "1"})
    session.install("--requirement", str(oldest), "--constraint", str(oldest), *groups)
    session.install("--no-deps", "--force-reinstall", str(build_wheel(session)))
    short = ("--hypothesis-profile=portable", "-m", "not serial")
    session.run("pytest", *IN_PARALLEL, *short, *(session.posargs or paths))


@nox.session(default=False)
def faults(session: nox.Session) -> None:
    """A receiver while it is killed, or its disk, database or clock fails; some minutes."""
    install(session, extras=["client", "receiver", "postgres"], groups=["tests"])
    session.run("pytest", "tests/faults", *session.posargs)


@nox.session(default=False)
def simulation(session: nox.Session) -> None:
    """Random histories of made-up servers with known outcome: `-- --seeds 2000 --first-seed 0`."""
    install(session, extras=["client", "receiver", "postgres"], groups=["tests"])
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        options = session.posargs or ("--seeds=100",)
        session.run(
            "pytest", *IN_PARALLEL, f"--basetemp={folder}/tests", "tests/simulation", *options
        )


@nox.session(default=False)
def failover(session: nox.Session) -> None:
    """Receivers while their PostgreSQL primary is killed; needs Patroni; some minutes."""
    install(session, extras=["client", "receiver", "postgres"], groups=["tests"])
    # `-rP` prints the measured times also when all tests pass.
    session.run("pytest", "-rP", "tests/failover", *session.posargs)


@nox.session
def odoo(session: nox.Session) -> None:
    """The addon in a real Odoo 19: its own tests, and end to end with a real receiver."""
    install(session, extras=["client", "receiver"], groups=["odoo"])
    session.install("--no-deps", AI_TOOL)
    # Before there are several processes: fails with the reason if there is no Odoo.
    session.run("python", HERE / "tests/odoo/harness/provision.py")
    # Half of the time is waiting. The processes share a PostgreSQL; tests of a file share servers.
    in_parallel = ("--numprocesses=3", "--dist=loadfile")
    session.run("pytest", *(session.posargs or (*in_parallel, "tests/odoo", "tests/e2e")))


@nox.session(default=False)
def agents(session: nox.Session) -> None:
    """MCP clients that others wrote, and MCP's conformance suite; takes them from npm."""
    install(session, extras=["client", "receiver"], groups=["agents"])
    session.run("pytest", *(session.posargs or ("tests/agents",)))


@nox.session(default=False)
def replicas(session: nox.Session) -> None:
    """Three Odoo servers on one database, which a receiver must show as one; 15 minutes."""
    install(session, extras=["client", "receiver"], groups=["odoo"])
    session.run("pytest", "tests/replicas", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """The receiver's pages in a real browser; needs Chromium."""
    install(session, extras=["client", "receiver"], groups=["browser"], compiled=False)
    session.run("pytest", "tests/browser", *session.posargs)


@nox.session
def monitoring(session: nox.Session) -> None:
    """The receiver's metrics in a real Prometheus, and Grafana's queries; needs Prometheus."""
    install(session, extras=["client", "receiver"], groups=["tests"], compiled=False)
    session.run("pytest", "tests/prometheus", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Attacks on a receiver with random requests; FLEET_ATTACK_EXAMPLES=10: ten times as many."""
    extras = ["client", "receiver", "postgres"]
    install(session, extras=extras, groups=["attacks"], compiled=False)
    session.run("pytest", "tests/attacks", *session.posargs)


@nox.session(python=PYTHONS[-1])
def registry(session: nox.Session) -> None:
    """The MCP registry, read by a client that others wrote, which needs this Python."""
    install(session, extras=["client", "receiver"], groups=["registry"], compiled=False)
    session.run("pytest", "tests/registry", *session.posargs)


@nox.session
def operations(session: nox.Session) -> None:
    """The files in deploy/ and the commands in docs/operations.md; needs the proxies."""
    extras = ["client", "receiver", "postgres"]
    install(session, extras=extras, groups=["operations"], compiled=False)
    session.run("pytest", "tests/operations", *session.posargs)


@nox.session(default=False)
def images(session: nox.Session) -> None:
    """The image, compose.yaml and the manifests for Kubernetes; needs root, podman and kubectl."""
    install(session, extras=["client", "receiver"], groups=["images"])
    session.run("pytest", "tests/images", *session.posargs)


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Whether the contract's tests notice small mistakes in its code; a quarter of an hour."""
    groups = nox.project.dependency_groups(PYPROJECT, "mutants")
    # The mistakes are made in copies of the checkout, so the package is not installed.
    needed = [*PYPROJECT["project"]["dependencies"], *groups]
    session.install("--constraint", CONSTRAINTS, *needed)
    copies = Path(session.create_tmp()).resolve() / "copies"
    script = HERE / "tests/project/mutants.py"
    session.run("python", "-I", script, HERE, copies, *session.posargs)


@nox.session(default=False)
def audit(session: nox.Session) -> None:
    """Whether a locked version has a known vulnerability; skipped if no index can tell."""
    groups = nox.project.dependency_groups(PYPROJECT, "audit")
    session.install("--constraint", CONSTRAINTS, *groups)
    said = session.run(
        *("python", "-I", HERE / "tests/project/audit.py", CONSTRAINTS),
        silent=True,
        success_codes=[0, 75],
    )
    assert isinstance(said, str)
    if "Nothing was checked" in said:
        session.skip(said.strip())
    session.log(said.strip())


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, which module may import which, and OCA's rules for Odoo addons."""
    extras = ["client", "receiver", "postgres"]
    install(session, extras=extras, groups=["lint"], compiled=False)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("lint-imports", "--no-cache")
    session.run("pylint", "--rcfile=odoo_addon/.pylintrc", "odoo_addon/mcp_phone_home")


@nox.session(default=False)
def readme(session: nox.Session) -> None:
    """Generate the addon's README and its page in Odoo's list of apps from `readme/*.md`."""
    groups = nox.project.dependency_groups(PYPROJECT, "readme")
    session.install("--constraint", CONSTRAINTS, *groups)
    session.run("python", HERE / "odoo_addon/generate_readme.py")


@nox.session(python=PYTHONS[-1])
def docs(session: nox.Session) -> None:
    """The manual as a site in build/manual, and all that it says; Sphinx needs this Python."""
    extras = ["client", "receiver", "postgres"]
    install(session, extras=extras, groups=["docs"], compiled=False)
    strictly = ("--fail-on-warning", "--keep-going", "--nitpicky", "--quiet")
    session.run("sphinx-build", *strictly, HERE / "docs", HERE / "build/manual")
    wheels = str(build_wheel(session).parent)
    session.run("pytest", *(session.posargs or ["tests/manual"]), env={"FLEET_WHEELS": wheels})


@nox.session(python=PYTHONS[-1], default=False)
def links(session: nox.Session) -> None:
    """Whether what the manual links to on other sites is there; asks them."""
    install(session, groups=["docs"])
    session.run("sphinx-build", "-b", "linkcheck", HERE / "docs", HERE / "build/links")


@nox.session(default=False)
def settings(session: nox.Session) -> None:
    """Write docs/settings.md, the page of the settings, from receiver/settings.py."""
    install(session, extras=["receiver"])
    session.run("python", HERE / "docs/generate_settings.py")


@nox.session(default=False)
def translations(session: nox.Session) -> None:
    """Export the addon's texts from a real Odoo, and merge them into each translation."""
    install(session, extras=["client"], groups=["odoo"])
    session.run("python", HERE / "tests/odoo/harness/translations.py")


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """Run a receiver, and made-up servers that send heartbeats to it, until Ctrl-C."""
    install(session, extras=["client", "receiver"])
    with tempfile.TemporaryDirectory() as folder:
        run_demo(session, Path(folder))


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """What a heartbeat costs, beside a plain handler and with more servers; needs wrk."""
    install(session, extras=["client", "receiver", "postgres"], groups=["bench"])
    # Python imports from the folder that it runs, so not the packages of the checkout.
    session.run("python", "benchmarks", *session.posargs, env={"PYTHONPATH": str(HERE / "tests")})


@nox.session(default=False)
def lock(session: nox.Session) -> None:
    """Write the exact versions that every session installs, from the ranges in pyproject.toml."""
    session.install("uv")
    groups = [f"--group={name}" for name in PYPROJECT["dependency-groups"]]
    needs = ("pyproject.toml", "--all-extras", *groups)
    lock_versions(session, CONSTRAINTS, *needs, "--upgrade", python="3.10")
    lock_image(session)


@nox.session(default=False)
def lock_image(session: nox.Session) -> None:
    """Write which of the locked versions the image has, as after a change of pyproject.toml."""
    if not shutil.which("uv", path=session.bin):
        session.install("uv")
    same = f"--constraint={CONSTRAINTS}"
    for file, needs in IMAGE.items():
        lock_versions(session, f"deploy/image/{file}", *needs, same, python="3.11")


def lock_versions(session: nox.Session, file: str, *options: str, python: str) -> None:
    session.run(
        *("uv", "pip", "compile", *options),
        *("--universal", f"--python-version={python}", "--generate-hashes"),
        *("--no-emit-index-url", "--no-header", "--no-annotate", "--quiet"),
        *("--output-file", file),
    )


def install(
    session: nox.Session,
    *,
    extras: tuple[str, ...] | list[str] = (),
    groups: list[str] | None = None,
    compiled: bool = True,
) -> None:
    """
    Install the built package, never the checkout, and its dependencies at locked versions.

    Args:
        compiled: Whether each module is compiled now, as pip does, which pays where several
            processes import the same ones at once; or else at its first import, if there is one.
    """
    project = PYPROJECT["project"]
    needed = [*project["dependencies"], *nox.project.dependency_groups(PYPROJECT, *groups or [])]
    for extra in extras:
        needed += project["optional-dependencies"][extra]

    # Python must not import from the current folder, which is the checkout.
    session.env["PYTHONSAFEPATH"] = "1"
    session.env["UV_COMPILE_BYTECODE"] = str(int(compiled))
    session.env["PYTHONDONTWRITEBYTECODE"] = ""  # or each process compiles all tests anew
    session.install("--constraint", CONSTRAINTS, *needed)
    session.install("--no-deps", "--force-reinstall", str(build_wheel(session)))


def build_wheel(session: nox.Session) -> Path:
    """Build the wheel that people install; again only when a file in it has changed."""
    sources = [HERE / name for name in ("pyproject.toml", "README.md", "LICENSE", CONSTRAINTS)]
    for package in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        sources += [f for f in (HERE / package).rglob("*") if f.is_file() and f.suffix != ".pyc"]
    digest = hashlib.sha256()
    for file in sorted(sources):
        digest.update(f"{file.relative_to(HERE)} {file.stat().st_size} ".encode())
        digest.update(file.read_bytes())
    built = HERE / ".cache/wheels" / digest.hexdigest()[:16]

    if not built.exists():
        # Not below `create_tmp`: from then on all temporary files of the session, also those of the
        # tests, would be where Python's packages are.
        folder = Path(session.virtualenv.location) / "wheel"
        shutil.rmtree(folder, ignore_errors=True)
        if session.venv_backend == "uv":
            build = ["uv", "build", "--wheel", "--out-dir", str(folder), "--build-constraints"]
        else:
            build = ["python", "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(folder)]
            build += ["--build-constraint"]
        session.run_install(*build, CONSTRAINTS, ".", silent=True)
        built.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # another session was quicker
            folder.rename(built)
    (wheel,) = built.glob("*.whl")
    return wheel


def measured(session: nox.Session, *paths: str) -> None:
    """Run pytest, and fail below the required branch coverage of contract, client, receiver."""
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    installed = Path(str(session.run("python", "-c", where, silent=True)).strip())
    sources = ",".join(str(installed / name) for name in ("contract", "client", "receiver"))
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        report = Path(folder) / "coverage.json"
        # `--immediate` measures each line once, and does not replace functions while tests run.
        into = ("--source", sources, "--immediate", "--json", "--out", report)
        paths = (f"--basetemp={folder}/tests", *paths)
        parallel = (*QUIETLY, *IN_PARALLEL, "-m", "not serial", *paths)
        # First, or each process would compile all tests of a new checkout.
        session.run("pytest", "-m", "serial", *paths)
        session.run("python", "-m", "slipcover", *into, "-m", "pytest", *parallel)
        table = ("--skip-covered", "--missing-width=500", "--fail-under=100")
        merged = ("--merge", report, "--out", Path(folder) / "merged.json")
        session.run("python", "-m", "slipcover", *table, *merged)


def memory() -> Path | None:
    """A folder in memory, where the tests' files cost no wait for a disk; None without room."""
    folder = Path("/dev/shm")
    has_room = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > MEMORY_BYTES
    return folder if has_room else None


def offer_every_python() -> None:
    """Let pyenv, if installed, offer all Pythons that it has and not only its default."""
    if shutil.which("pyenv") is None:
        return
    listed = subprocess.run(
        ["pyenv", "versions", "--bare"], check=True, capture_output=True, text=True
    ).stdout.split()
    current = ".".join(map(str, sys.version_info[:3]))
    offered = [v for v in listed if v.rpartition(".")[0] in PYTHONS]
    os.environ["PYENV_VERSION"] = ":".join(sorted(offered, key=lambda v: (v != current, v)))


def run_demo(session: nox.Session, folder: Path) -> None:
    """Start a receiver and the made-up servers, log the URL, and end both on Ctrl-C."""
    python = Path(session.bin) / "python"
    port = free_port(preferred=8765)
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "FLEET_DATABASE_URL": f"sqlite:///{folder / 'fleet.db'}"}
    receiver = subprocess.Popen(
        [python, "-m", "uvicorn", "receiver.app:app", f"--port={port}", "--log-level=warning"],
        cwd=folder,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the fleet; the receiver is ended after it
    )
    try:
        wait_until_healthy(port)
        session.log(f"The fleet: {url}   as JSON: curl {url}/servers   Ctrl-C ends it.")
        subprocess.run([python, "-m", "client", "--url", url, "--demo"], cwd=folder, check=False)
    except KeyboardInterrupt:
        session.log("Ended.")
    finally:
        receiver.send_signal(signal.SIGINT)
        receiver.wait(timeout=10)


def free_port(*, preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AssertionError("port 0 is always free")


def wait_until_healthy(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        # Not urllib, which asks to close the connection, as the proxies do that are refused.
        connection = HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        if time.monotonic() > deadline:
            raise TimeoutError("The receiver does not answer.")
        time.sleep(0.1)


offer_every_python()
