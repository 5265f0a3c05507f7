"""The health check of a container."""

import socket

import pytest
import trustme
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from receiver import probe
from servers import serve


def answering(status: int) -> Starlette:
    def answer(_: object) -> Response:
        return PlainTextResponse("it runs", status)

    return Starlette(routes=[Route("/health/live", answer)])


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.mark.parametrize(("status", "found"), [(200, 0), (503, 1)])
def test_probe_exits_by_the_status_of_the_answer(status: int, found: int, said: list[str]) -> None:
    with serve(answering(status)) as client:
        assert found == probe.main([f"{client.base_url}/health/live"], said.append)

    assert [f"{status} it runs"] == said


def test_receiver_with_a_certificate_of_another_name_is_asked_too(said: list[str]) -> None:
    certificate = trustme.CA().issue_cert("fleet.example.com")
    with (
        certificate.private_key_and_cert_chain_pem.tempfile() as pem,
        serve(answering(200), ssl_certfile=pem) as client,
    ):
        url = str(client.base_url).replace("http:", "https:")
        assert 0 == probe.main([f"{url}/health/live"], said.append)


def test_probe_without_an_answer_is_unhealthy(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """By default the receiver of this machine is asked at its usual port."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/health/live"
        monkeypatch.setattr(probe, "_LIVE", url)
        assert 1 == probe.main([], said.append)

    assert said[0].startswith("no answer: ConnectionRefusedError")
