"""The addon in a real Odoo: its own tests, and its settings outside the database."""

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from evil import answer, evil_server, say
from odoo_program import ADDONS, OdooProgram, Server
from phoning import health, wait_until_up

ADDON = "mcp_phone_home"

NO_CRON = "--max-cron-threads=0"
SERVER_WIDE = f"--load=base,web,{ADDON}"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

PHONE_HOME = f"from odoo.addons.{ADDON}.services import phone_home, settings"
PRINT_TOKEN = f"{PHONE_HOME}; print(settings.receiver_settings(env).token)"
TYPE_TOKEN = """
INSERT INTO res_config_settings (company_id, mcp_typed_token)
SELECT min(id), 'secret' FROM res_company
"""
SAVE_WITH_A_CONFLICT = """
import psycopg2

settings = env["res.config.settings"].create({"mcp_phone_home_token": "hush-hush"})
with env.registry.cursor() as other:
    other.execute("UPDATE ir_config_parameter SET value = '' WHERE key = 'mcp.phone_home_token'")
try:
    settings.execute()
except psycopg2.Error as error:
    print(type(error).__name__)
"""
SEND = f"{PHONE_HOME}; print(phone_home.send_heartbeat(env))"


@pytest.fixture
def silent_url() -> Iterator[str]:
    """The URL of a socket that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_tests_of_the_addon_pass_in_odoo(odoo: OdooProgram, database: str) -> None:
    log = odoo.test(database, ADDON).log

    (verdict,) = log.lines("odoo.tests.result: ")
    found = re.search(r"(\d+) failed, (\d+) error\(s\) of (\d+) tests", verdict)
    assert found is not None, verdict
    assert found.groups() == ("0", "0", str(written_tests()))
    assert log.complaints() == []


def test_neutralized_copy_has_no_receiver_no_token_and_no_mcp(
    odoo: OdooProgram, installed: str
) -> None:
    odoo.set_parameters(installed, phone_home_url="http://127.0.0.1:9", phone_home_token="secret")
    odoo.postgres.sql(TYPE_TOKEN, database=installed)
    known = "UPDATE mcp_phone_home_state SET pace = '{}', hosts = '{}'"
    odoo.postgres.sql(known, database=installed)

    odoo.run("neutralize", "-d", installed)
    kept = odoo.postgres.sql(
        "SELECT key, value FROM ir_config_parameter WHERE key LIKE 'mcp.%' ORDER BY key",
        database=installed,
    )
    expected = ["mcp.disabled|True", "mcp.phone_home_token|", "mcp.phone_home_url|"]
    assert expected == kept.splitlines()
    left = "SELECT count(mcp_typed_token) FROM res_config_settings"
    assert "0" == odoo.postgres.sql(left, database=installed)
    of_hosts = "SELECT count(pace) + count(hosts) FROM mcp_phone_home_state"
    assert "0" == odoo.postgres.sql(of_hosts, database=installed)


def test_install_does_not_wait_for_a_silent_receiver(
    odoo: OdooProgram, database: str, silent_url: str
) -> None:
    odoo.set_parameters(
        database, phone_home_url=silent_url, phone_home_timeout="4", phone_home_retries="1"
    )

    lines = odoo.install(database, ADDON).log.lines()
    assert position(lines, "Modules loaded.") < position(lines, "did not answer within 4.0 s")


def test_environment_overrides_odoo_conf_which_overrides_the_parameter(
    odoo: OdooProgram, installed: str, tmp_path: Path
) -> None:
    odoo.set_parameters(installed, phone_home_token="from-parameter")
    conf = odoo.config_with(tmp_path / "odoo.conf", mcp_phone_home_token="from-conf")
    blank = odoo.config_with(tmp_path / "blank.conf", mcp_phone_home_token="")

    def token(*options: str, **environ: str) -> str:
        return odoo.shell(installed, PRINT_TOKEN, *options, **environ).output.strip()

    assert token(conf, MCP_PHONE_HOME_TOKEN="from-environment") == "from-environment"
    assert token(conf, MCP_PHONE_HOME_TOKEN=" ") == "from-conf"
    assert token(blank) == "from-parameter"


def test_concurrent_saves_of_a_token_do_not_log_it(odoo: OdooProgram, installed: str) -> None:
    odoo.set_parameters(installed, phone_home_token="before")

    overtaken = odoo.shell(installed, SAVE_WITH_A_CONFLICT)
    assert "SerializationFailure" == overtaken.output.strip()
    assert [] == overtaken.log.lines("hush-hush")


@pytest.fixture
def ping() -> Callable[..., httpx.Response]:
    """Post a ping to an Odoo with an API key that is none."""

    def post(server: Server, **headers: str) -> httpx.Response:
        headers["Authorization"] = "Bearer none"
        return httpx.post(
            f"{server.url}/mcp/v1", json=PING, headers=headers, trust_env=False, timeout=30
        )

    return post


def test_request_for_no_database_gets_404(
    odoo: OdooProgram, installed: str, database: str, ping: Callable[..., httpx.Response]
) -> None:
    with odoo.server(f"{installed},{database}", NO_CRON) as server:
        wait_until_up(server)
        answers = [ping(server), ping(server, **{"X-Odoo-Database": "nowhere"}), health(server)]
        # Not after its end: it complains if it has to end while it loads the databases.
        complaints = server.log.complaints()

    assert [404] * 3 == [answer.status_code for answer in answers]
    assert ["No database is selected" in answer.text for answer in answers] == [True] * 3
    assert [] == complaints


def test_request_for_no_database_gets_a_json_sentence_from_a_server_wide_addon(
    odoo: OdooProgram, installed: str, database: str, ping: Callable[..., httpx.Response]
) -> None:
    with odoo.server(f"{installed},{database}", NO_CRON, SERVER_WIDE) as server:
        wait_until_up(server)
        posted = [ping(server), ping(server, **{"X-Odoo-Database": "nowhere"})]
        got = httpx.get(f"{server.url}/mcp/v1", trust_env=False, timeout=30)
        problem = health(server)
        known = ping(server, **{"X-Odoo-Database": installed})
        complaints = server.log.complaints()

    answers = [*posted, got, problem]
    assert [404] * 4 == [answer.status_code for answer in answers]
    sentences = [answer.json()["error"]["message"] for answer in (*posted, got)]
    sentences.append(problem.json()["detail"])
    assert ["X-Odoo-Database" in sentence for sentence in sentences] == [True] * 4
    assert "application/problem+json" == problem.headers["Content-Type"]
    assert 401 == known.status_code
    assert [] == complaints


def test_server_wide_addon_answers_404_in_a_database_without_it(
    odoo: OdooProgram, database: str
) -> None:
    with odoo.server(database, NO_CRON, SERVER_WIDE) as server:
        wait_until_up(server)
        got = httpx.get(f"{server.url}/mcp/v1", trust_env=False, timeout=30)
        problem = health(server)
        complaints = server.log.complaints()

    assert [404, 404] == [got.status_code, problem.status_code]
    assert "not installed" in got.json()["error"]["message"]
    assert "not installed" in problem.json()["detail"]
    assert [] == complaints


def test_private_authority_is_trusted_only_when_it_is_set(
    odoo: OdooProgram, installed: str, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with evil_server(say(answer("200 OK")), tls=context) as receiver:
        odoo.set_parameters(installed, phone_home_url=receiver.url, phone_home_token="hush-hush")
        wary = odoo.shell(installed, SEND)
        heard_by_a_stranger = list(receiver.heard)
        trusting = odoo.shell(installed, SEND, MCP_PHONE_HOME_CA=str(tmp_path / "ca.pem"))

    assert (wary.output.strip(), trusting.output.strip()) == ("False", "True")
    assert ([], 1) == (heard_by_a_stranger, len(receiver.heard))
    assert len(wary.log.lines(f"certificate of the receiver at {receiver.url} is not trusted")) == 1
    assert [] == wary.log.lines("hush-hush")


def written_tests() -> int:
    texts = [path.read_text() for path in (ADDONS / ADDON / "tests").glob("test_*.py")]
    return sum(len(re.findall(r"^    def test_", text, re.MULTILINE)) for text in texts)


def position(lines: list[str], wanted: str) -> int:
    return next(index for index, line in enumerate(lines) if wanted in line)
