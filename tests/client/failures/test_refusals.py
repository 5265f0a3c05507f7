"""The content of a refusal, which shows no secret."""

import httpx
import pytest

from client import CallFailed, PhoneHomeClient, Refused
from contract import Problem
from failing_network import BEAT, URL, Network, failure_of, refusal


def test_refusal_holds_the_problem_document() -> None:
    response = refusal(
        422,
        code="invalid_message",
        detail="The heartbeat breaks the contract.",
        errors=[{"path": "port", "message": "expected a port"}, "odd", {"path": 5}],
    )
    error = failure_of(response)

    assert isinstance(error, Refused)
    assert (422, "invalid_message", URL) == (error.status, error.code, error.url)
    assert "The heartbeat breaks the contract." == error.detail
    assert error.errors == (Problem("port", "expected a port"), Problem("", "odd"), Problem("", ""))
    assert str(error) == (
        f"The receiver at {URL} refused with 422 (invalid_message):"
        " The heartbeat breaks the contract; port: expected a port; odd."
    )


def test_text_of_a_refusal_repeats_nothing() -> None:
    response = refusal(
        422, code="invalid_message", detail="port: no", errors=[{"path": "port", "message": "no"}]
    )

    assert str(failure_of(response)).endswith("(invalid_message): port: no.")


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(502, text="<html>Bad Gateway</html>"),
        refusal(502, code=5, detail=None, errors="none"),
        refusal(502, code=""),
        httpx.Response(502, json=["code"]),
    ],
)
def test_refusal_without_a_problem_document_has_the_code_http_error(
    response: httpx.Response,
) -> None:
    error = failure_of(response)

    assert isinstance(error, Refused)
    assert ("http_error", "", ()) == (error.code, error.detail, error.errors)
    assert str(error) == f"The receiver at {URL} refused with 502 (http_error)."


def test_text_of_a_refusal_has_the_title_when_the_detail_is_missing() -> None:
    assert str(failure_of(refusal(500, title="Broken"))).endswith("(http_error): Broken.")


def test_text_of_an_error_is_one_line() -> None:
    error = failure_of(refusal(400, code="x", detail="one\n2026 CRITICAL two\x1b[31m\u2028three."))

    assert str(error).endswith(": one 2026 CRITICAL two [31m three.")


def test_redirect_is_refused_and_quoted_without_secrets() -> None:
    place = "https://ann:pass@other.example/login?ticket=s3cret#s3cret"
    network = Network(httpx.Response(302, headers={"location": place}))
    error = failure_of(network=network)

    assert 1 == len(network.requests)
    assert str(error) == (
        f"The receiver at {URL} refused with 302 (http_error): it points to"
        " https://other.example/login, and a redirect is not followed."
    )


@pytest.mark.parametrize("headers", [{}, {"location": "http://[broken"}])
def test_redirect_without_a_valid_location_is_refused(headers: dict[str, str]) -> None:
    assert "points to nowhere" in str(failure_of(httpx.Response(302, headers=headers)))


def test_token_quoted_by_a_receiver_is_masked() -> None:
    network = Network(refusal(401, code="unauthorized", detail="s3cret is not valid"))
    with (
        PhoneHomeClient(URL, token="s3cret", transport=network) as client,
        pytest.raises(Refused) as caught,
    ):
        client.heartbeat(BEAT)

    assert "*** is not valid" == caught.value.detail


@pytest.mark.parametrize(
    "reaction", [httpx.ConnectError("down"), httpx.ReadTimeout("slow"), httpx.Response(500)]
)
def test_no_error_shows_user_password_or_token(
    reaction: httpx.Response | Exception,
) -> None:
    url = "http://nora:pass@receiver.example"
    with (
        PhoneHomeClient(url, token="s3cret", transport=Network(reaction)) as client,
        pytest.raises(CallFailed) as caught,
    ):
        client.heartbeat(BEAT)

    shown = f"{caught.value!s} {caught.value!r} {caught.value.url} {client!r} {client.base_url}"
    assert not any(secret in shown for secret in ["nora", "pass", "s3cret"])
