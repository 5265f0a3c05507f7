"""`GET /facets`: how many servers have what."""

import httpx
import pytest

import messages
from keyring import bearer, keep, made


def send(receiver: httpx.Client) -> None:
    fleet = [
        messages.heartbeat(server_id="a", odoo_stage="dev", odoo_version="18.0"),
        messages.heartbeat(server_id="b", odoo_stage="dev", capabilities=["stock_read"]),
        messages.heartbeat(server_id="c"),
        messages.slim(server_id="d"),
    ]
    receiver.post("/heartbeats", json=fleet).raise_for_status()


@pytest.mark.both_databases
def test_facet_values_are_counted_the_most_frequent_first(receiver: httpx.Client) -> None:
    send(receiver)

    receiver.patch("/servers/a/labels", json={"add": ["gold"]}).raise_for_status()
    receiver.patch("/servers/d/labels", json={"add": ["gold"]}).raise_for_status()

    found = receiver.get("/facets?query=-stage:none").json()

    assert (3, False) == (found["total"], found["partial"])
    assert {
        "state": [{"value": "up", "count": 3}],
        "stage": [
            {"value": "dev", "count": 2},
            {"value": "", "count": 1},
            {"value": "production", "count": 1},
        ],
        "odoo": [{"value": "19.0", "count": 2}, {"value": "18.0", "count": 1}],
        "version": [{"value": "1.0.0", "count": 3}],
        "tool": [
            {"value": "res_partner_search", "count": 2},
            {"value": "sale_order_create", "count": 2},
            {"value": "stock_read", "count": 1},
        ],
        "network": [{"value": "10.0.0.0/24", "count": 3}],
        "key": [{"value": "", "count": 3}],
        "label": [{"value": "gold", "count": 1}],
    } == found["facets"]


def test_facet_values_can_be_searched(receiver: httpx.Client) -> None:
    send(receiver)

    found = receiver.get("/facets?facet=tool&facet=stage&find=S&limit=2&stage=dev").json()

    assert 2 == found["total"]
    assert {
        "tool": [
            {"value": "res_partner_search", "count": 1},
            {"value": "sale_order_create", "count": 1},
        ],
        "stage": [],
    } == found["facets"]


@pytest.mark.both_databases
@pytest.mark.parametrize("sign", ["", "-"])
def test_filter_may_name_as_many_tools_as_its_length_allows(
    receiver: httpx.Client, sign: str
) -> None:
    """A query with a condition for each would be too deep for SQLite."""
    send(receiver)
    others = [f"{a}{b}" for a in "abcdefghijklmnop" for b in "abcdefghijklmnop"]
    asked = {"query": f"{sign}tool:{','.join([*others, 'stock_read'])}"}
    found = {"": ["b"], "-": ["a", "c", "d"]}[sign]

    assert found == [
        each["server_id"] for each in receiver.get("/servers", params=asked).json()["servers"]
    ]
    assert len(found) == receiver.get("/facets", params=asked).json()["total"]
    page = receiver.get("/", params=asked, headers={"Accept": "text/html"})
    assert 200 == page.status_code


def test_facets_answer_has_an_etag(receiver: httpx.Client) -> None:
    send(receiver)
    tag = receiver.get("/facets").headers["etag"]

    assert 304 == receiver.get("/facets", headers={"If-None-Match": tag}).status_code


@pytest.mark.parametrize("query", ["facet=colour", "query=colour:red", "limit=0", "sort=server_id"])
def test_invalid_facet_parameters_are_refused(receiver: httpx.Client, query: str) -> None:
    answer = receiver.get(f"/facets?{query}")

    assert (400, "invalid_parameter") == (answer.status_code, answer.json()["code"])


@pytest.fixture
def tokens(database_url: str) -> dict[str, str]:
    """The tokens of an administrator and a viewer, whose keys are stored."""
    keys = {scope: made(scope) for scope in ("admin", "viewer")}
    keep(database_url, *(key for key, _ in keys.values()))
    return {scope: token for scope, (_, token) in keys.items()}


def test_keys_facet_is_shown_only_to_administrators(
    tokens: dict[str, str], receiver: httpx.Client
) -> None:
    def names_seen_by(scope: str) -> set[str]:
        answer = receiver.get("/facets?facet=key&facet=stage", headers=bearer(tokens[scope]))
        return {*answer.raise_for_status().json()["facets"]}

    assert [{"key", "stage"}, {"stage"}] == [names_seen_by(each) for each in ("admin", "viewer")]
