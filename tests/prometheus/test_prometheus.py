"""A real Prometheus scrapes a real receiver, and discovers the fleet's servers through it."""

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

import httpx
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are another package

import messages
from keyring import bearer, keep, made
from ports import free_port
from servers import NO_AUTHORITIES, PATIENCE_SECONDS, Process, receiver_process, wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/fleet.json").read_text())
SHIPPED = (DEPLOY / "prometheus.yml").read_text()
RULES = DEPLOY / "prometheus-rules.yml"
TESTS_OF_RULES = Path(__file__).with_name("rules.test.yml")

Labels = dict[str, str]
Result = list[tuple[Labels, float]]


class Prometheus:
    """A running Prometheus, and its HTTP API."""

    def __init__(self, url: str) -> None:
        self._url = url

    def is_ready(self) -> bool:
        try:
            return self._get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def query(self, expression: str) -> Result:
        """The labels and the current value of each time series. Raises AssertionError."""
        found = self._ask("query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]

    def wait_for(self, expected: object, expression: str, seen: Callable[[Result], object]) -> None:
        """
        Wait until a query has the expected result, as `seen` shows it.

        It may have none for a second: a scrape that takes longer than the interval has failed.
        """
        with suppress(AssertionError):
            wait_until(lambda: expected == seen(self.query(expression)))
        assert expected == seen(self.query(expression))

    def targets(self) -> dict[str, Labels]:
        """The labels, and the `url`, of each scraped server, by `server_id`."""
        return {
            target["labels"]["server_id"]: {**target["labels"], "url": target["scrapeUrl"]}
            for target in self._ask("targets", state="active")["activeTargets"]
            if target["scrapePool"] == "servers"
        }

    def failures(self) -> float:
        """How often Prometheus has failed to read the list of targets."""
        page = self._get("/metrics").text
        (found,) = [s for s in page.splitlines() if s.startswith("prometheus_sd_http_failures_t")]
        return float(found.split()[1])

    def _ask(self, path: str, **parameters: str) -> Any:
        answer = self._get(f"/api/v1/{path}", **parameters).json()
        assert "success" == answer["status"], answer
        return answer["data"]

    def _get(self, path: str, **parameters: str) -> httpx.Response:
        return httpx.get(
            f"{self._url}{path}",
            params=parameters,
            timeout=PATIENCE_SECONDS,
            trust_env=False,
            verify=NO_AUTHORITIES,
        )


@contextmanager
def running_prometheus(
    folder: Path, receiver: Process, *, key: str = "unused"
) -> Iterator[Prometheus]:
    """
    Run Debian's Prometheus with the shipped configuration.

    Fails where it does not start, because no test may be skipped.
    """
    (folder / "fleet.key").write_text(key)
    configuration = SHIPPED.replace("127.0.0.1:8000", f"127.0.0.1:{receiver.port}")
    configuration = configuration.replace("/etc/prometheus/fleet.key", f"{folder}/fleet.key")
    configuration = configuration.replace(
        "/sd/prometheus\n", "/sd/prometheus\n        refresh_interval: 1s\n"
    )
    (folder / "prometheus.yml").write_text(f"global: {{scrape_interval: 1s}}\n{configuration}")
    address = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        prometheus = Prometheus(f"http://{address}")
        wait_until(lambda: process.poll() is not None or prometheus.is_ready())
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        yield prometheus
    finally:
        process.kill()  # no clean exit is needed: its data is in a temporary folder
        process.wait()


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A receiver with two servers: one is the receiver itself, the other cannot be scraped."""
    folder = tmp_path_factory.mktemp("receiver")
    with receiver_process(folder, FLEET_DATABASE_URL=f"sqlite:///{database(folder)}") as process:
        # An interval of an hour keeps the servers up while the tests run.
        near = messages.heartbeat(heartbeat_interval_seconds=3600, endpoint_url=process.url)
        far = messages.slim(
            heartbeat_interval_seconds=3600, server_id="far", hostname="far.invalid", port=8768
        )
        send(process, "/heartbeats", [near, far, {}])
        yield process


@pytest.fixture(scope="module")
def prometheus(receiver: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has discovered the servers, and scraped them and the receiver."""
    with running_prometheus(tmp_path_factory.mktemp("prometheus"), receiver) as prometheus:
        wait_until(lambda: len(prometheus.query("up")) == 3)
        yield prometheus


def send(receiver: Process, path: str, message: object, *, key: str | None = None) -> None:
    """Post a message to a receiver, with a key. Raises httpx.HTTPStatusError."""
    httpx.post(
        f"{receiver.url}{path}",
        json=message,
        headers=bearer(key),
        timeout=PATIENCE_SECONDS,
        trust_env=False,
        verify=NO_AUTHORITIES,
    ).raise_for_status()


def metrics(receiver: Process) -> bytes:
    """The receiver's page of metrics."""
    url, patience = f"{receiver.url}/metrics", PATIENCE_SECONDS
    return httpx.get(url, timeout=patience, trust_env=False, verify=NO_AUTHORITIES).content


def database(folder: Path) -> Path:
    return folder / "fleet.db"


def program(name: str) -> str:
    path = shutil.which(name)
    assert path is not None, f"there is no {name} here; install it with: apt-get install prometheus"
    return path


def queries() -> list[str]:
    """Every query of the dashboard, with Grafana's variables replaced."""
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [each.replace("$job", ".+").replace("$__rate_interval", "1m") for each in asked]


def by(label: str, found: list[tuple[Labels, float]]) -> dict[str, float]:
    """The values by a label; an empty text stands for a missing label."""
    return {labels.get(label, ""): value for labels, value in found}


def test_receiver_is_scraped(receiver: Process, prometheus: Prometheus) -> None:
    instance = f"127.0.0.1:{receiver.port}"

    up = [({"__name__": "up", "instance": instance, "job": "fleet"}, 1.0)]
    prometheus.wait_for(up, 'up{job="fleet"}', list)
    prometheus.wait_for(
        {"production": 1, "": 1},
        'sum by (stage) (fleet_servers{job="fleet", state="up"})',
        partial(by, "stage"),
    )
    prometheus.wait_for(
        {"accepted": 2, "refused": 1},
        'sum by (outcome) (fleet_messages_total{job="fleet"}) > 0',
        partial(by, "outcome"),
    )


def test_service_discovery_lists_the_servers(receiver: Process, prometheus: Prometheus) -> None:
    assert {
        "acme_web-1": {
            "server_id": "acme_web-1",
            "stage": "production",
            "version": "1.0.0",
            "database": "acme",
            "odoo_version": "19.0",
            "instance": f"127.0.0.1:{receiver.port}",
            "job": "servers",
            "url": f"{receiver.url}/metrics",
        },
        "far": {
            "server_id": "far",
            "instance": "far.invalid:8768",
            "job": "servers",
            "url": "http://far.invalid:8768/metrics",
        },
    } == prometheus.targets()


def test_servers_are_scraped_at_their_endpoint(prometheus: Prometheus) -> None:
    prometheus.wait_for({"acme_web-1": 1, "far": 0}, 'up{job="servers"}', partial(by, "server_id"))


def test_receiver_with_keys_is_scraped_with_a_key(tmp_path: Path) -> None:
    url = f"sqlite:///{database(tmp_path)}"
    viewer, token = made("viewer")
    agent, agents = made("agent")
    keep(url, viewer, agent)
    beat = messages.heartbeat(heartbeat_interval_seconds=3600)
    with receiver_process(tmp_path, FLEET_DATABASE_URL=url) as receiver:
        send(receiver, "/heartbeat", beat, key=agents)
        with running_prometheus(tmp_path, receiver, key=token) as prometheus:
            wait_until(lambda: len(prometheus.query("up")) == 2)
            prometheus.wait_for({"fleet": 1}, 'up{job="fleet"}', partial(by, "job"))
            assert ["acme_web-1"] == [*prometheus.targets()]


class Listening:
    """
    A server on loopback that records the requests it gets, and answers all of them alike.

    Args:
        status: The status of its answers.
        headers: The headers of its answers.
    """

    def __init__(self, status: int, **headers: str) -> None:
        requests: list[tuple[str, Labels]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.requests = requests
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_discovered_servers_hear_no_key_and_lead_nowhere_else(tmp_path: Path) -> None:
    url = f"sqlite:///{database(tmp_path)}"
    viewer, token = made("viewer")
    agent, agents = made("agent")
    keep(url, viewer, agent)
    with (
        Listening(200) as elsewhere,
        Listening(302, Location=f"{elsewhere.url}/metrics") as registered,
        receiver_process(
            tmp_path, FLEET_DATABASE_URL=url, FLEET_ENDPOINTS="127.0.0.0/8"
        ) as receiver,
    ):
        beat = messages.heartbeat(heartbeat_interval_seconds=3600, endpoint_url=registered.url)
        send(receiver, "/heartbeat", beat, key=agents)
        with running_prometheus(tmp_path, receiver, key=token):
            wait_until(lambda: len(registered.requests) > 1)

    assert [] == [said for _, said in registered.requests if token in str(said)]
    assert [] == [name for _, said in registered.requests for name in said if name in SECRETS]
    assert [] == elsewhere.requests


SECRETS = {"authorization", "cookie", "proxy-authorization"}


def configurations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every job for Prometheus in the documentation and in deploy/, with the name of its file."""
    root = DEPLOY.parent
    texts = [(path, path.read_text()) for path in DEPLOY.rglob("*.yml")]
    for page in [*root.glob("*.md"), *root.glob("docs/*.md")]:
        blocks = re.findall(r"^```ya?ml\n(.+?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        texts += [(page, block) for block in blocks]
    for path, text in texts:
        for job in yaml.safe_load(text).get("scrape_configs", ()):
            yield path.name, job


def test_no_configuration_sends_credentials_to_discovered_servers() -> None:
    found = [(name, job) for name, job in configurations() if "http_sd_configs" in job]
    harmless = {"job_name", "follow_redirects", "http_sd_configs", "relabel_configs"}

    assert ["prometheus.yml"] == [name for name, _ in found]
    for name, job in found:
        assert set() == job.keys() - harmless, name
        assert job["follow_redirects"] is False, name
        assert all(each["follow_redirects"] is False for each in job["http_sd_configs"]), name


@pytest.mark.parametrize("key_in", ["fleet", "servers"])
def test_job_for_the_receiver_is_not_that_for_the_servers(key_in: str) -> None:
    jobs = {job["job_name"]: job for _, job in configurations()}

    assert (key_in == "fleet") == ("authorization" in jobs[key_in])
    assert (key_in == "fleet") == ("static_configs" in jobs[key_in])


def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "fleet.key").write_text("a key")
    (tmp_path / "prometheus.yml").write_text(
        SHIPPED.replace("/etc/prometheus/fleet.key", str(tmp_path / "fleet.key"))
    )

    checked = subprocess.run(
        [program("promtool"), "check", "config", tmp_path / "prometheus.yml"],
        capture_output=True,
        check=False,
        timeout=PATIENCE_SECONDS,
        text=True,
    )

    assert (0, "") == (checked.returncode, checked.stderr)


def test_rules_do_what_their_tests_say() -> None:
    checked = subprocess.run(
        [program("promtool"), "test", "rules", TESTS_OF_RULES],
        capture_output=True,
        check=False,
        timeout=PATIENCE_SECONDS,
        text=True,
    )

    assert 0 == checked.returncode, checked.stdout + checked.stderr


def test_every_rule_is_tested_to_fire_and_not_to_fire() -> None:
    tests = [
        (each["alertname"], bool(each["exp_alerts"]))
        for test in yaml.safe_load(TESTS_OF_RULES.read_text())["tests"]
        for each in test["alert_rule_test"]
    ]

    assert {(name, fires) for name in alerting_rules() for fires in (True, False)} == set(tests)


def test_rules_ask_for_metrics_that_a_receiver_has(receiver: Process) -> None:
    page = metrics(receiver).decode()

    asked = set(re.findall(r"(fleet_\w+)\{", " ".join(alerting_rules().values())))
    assert set() == {name for name in asked if f"\n{name}" not in page}


def alerting_rules() -> dict[str, str]:
    """The expressions of the shipped alerting rules, by the name of the alert."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


@pytest.mark.parametrize("query", queries())
def test_every_query_of_the_dashboard_has_a_result(prometheus: Prometheus, query: str) -> None:
    # Queries for recent events compare with `> 0`, which drops them while nothing happens.
    wait_until(lambda: bool(prometheus.query(query.removesuffix(" > 0"))))

    prometheus.query(query)


def test_dashboard_variable_lists_the_fleets(prometheus: Prometheus) -> None:
    (variable,) = [v for v in DASHBOARD["templating"]["list"] if v["name"] == "job"]

    assert "label_values(fleet_build_info, job)" == variable["definition"]
    prometheus.wait_for(
        {"fleet": 1, "servers": 1}, "count by (job) (fleet_build_info)", partial(by, "job")
    )


def test_promtool_accepts_the_metrics(receiver: Process) -> None:
    page = metrics(receiver)

    checked = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=page,
        capture_output=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )

    assert (0, b"", b"") == (checked.returncode, checked.stdout, checked.stderr)


def test_targets_are_kept_while_the_database_is_unavailable(
    receiver: Process, prometheus: Prometheus
) -> None:
    file = database(receiver.log.parent)
    before, failures = prometheus.targets(), prometheus.failures()
    with closing(sqlite3.connect(file, timeout=PATIENCE_SECONDS)) as other:
        other.execute("ALTER TABLE servers RENAME TO gone")
        try:
            wait_until(lambda: prometheus.failures() > failures + 1)
            meanwhile = prometheus.targets()
        finally:
            other.execute("ALTER TABLE gone RENAME TO servers")

    assert before == meanwhile
    assert 2 == len(before)
