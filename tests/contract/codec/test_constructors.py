"""The constructors and the codec agree on what is valid."""

from datetime import datetime, timezone
from typing import Any

import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st

from contract import Heartbeat, IpAddresses, Tool, ToolAnnotations, structure
from strategies import almost_values, moments
from wire import SERVER, outcome, same


@pytest.mark.parametrize(
    "name",
    [
        f.name
        for f in fields(Heartbeat)
        if f.name not in {"ip_addresses", "timestamp", "started_at"}
    ],
)
@given(data=st.data())
def test_the_constructor_and_the_codec_agree(name: str, data: st.DataObject) -> None:
    value = data.draw(almost_values(name))
    message = SERVER | {name: value}

    assert same(
        outcome(lambda: Heartbeat(**message)), outcome(lambda: structure(message, Heartbeat))
    )


@pytest.mark.parametrize("name", [f.name for f in fields(Tool) if f.name != "annotations"])
@given(data=st.data())
def test_the_constructor_and_the_codec_agree_on_tools(name: str, data: st.DataObject) -> None:
    tool = {"name": "search", name: data.draw(almost_values(name, Tool))}

    assert same(outcome(lambda: Tool(**tool)), outcome(lambda: structure(tool, Tool)))


@pytest.mark.parametrize("hint", [True, False, None, 0, 1, 1.0, "true", [], {}])
@pytest.mark.parametrize("name", [f.name for f in fields(ToolAnnotations)])
def test_the_constructor_and_the_codec_agree_on_hints(name: str, hint: Any) -> None:
    hints = {name: hint}

    assert same(
        outcome(lambda: ToolAnnotations(**hints)),
        outcome(lambda: structure(hints, ToolAnnotations)),
    )


@given(almost_values("ip_addresses"))
def test_the_constructor_and_the_codec_agree_on_addresses(value: Any) -> None:
    told = dict.fromkeys(["primary", "all"]) | (value if isinstance(value, dict) else {})
    primary: Any = told["primary"]
    all_: Any = told["all"]

    assert same(
        outcome(lambda: IpAddresses(primary=primary, all=all_)),
        outcome(lambda: structure(told, IpAddresses)),
    )


@given(moments())
def test_the_constructor_and_the_codec_agree_on_moments(moment: datetime) -> None:
    wire = moment.astimezone(timezone.utc).isoformat()

    assert Heartbeat(**SERVER, timestamp=moment) == structure(
        SERVER | {"timestamp": wire}, Heartbeat
    )
