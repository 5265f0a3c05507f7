"""Pins the public names of the contract, since removing one breaks callers."""

import contract


def test_the_contract_exports_exactly_the_listed_public_names() -> None:
    assert [
        "DEFAULT_INTERVAL_SECONDS",
        "FAREWELL",
        "MOST_TOOLS",
        "MOVING",
        "Event",
        "EventKind",
        "FleetError",
        "Heartbeat",
        "HeartbeatAnswer",
        "InvalidMessage",
        "IpAddresses",
        "MalformedJSON",
        "Problem",
        "Registration",
        "RegistrationAnswer",
        "RejectedAnswer",
        "ServerPayload",
        "ServerRecord",
        "State",
        "Tool",
        "ToolAnnotations",
        "Want",
        "WrongServer",
        "changed_tools",
        "changes",
        "dumps",
        "interval",
        "json_schema",
        "liveness",
        "loads",
        "merge",
        "merge_repeated",
        "parse",
        "patience",
        "register",
        "repeats",
        "shortened",
        "structure",
        "tool_changes",
        "tools_digest",
        "unstructure",
    ] == contract.__all__


def test_the_public_names_are_sorted_with_constants_first() -> None:
    assert sorted(contract.__all__, key=lambda name: (not name.isupper(), name)) == contract.__all__


def test_every_public_name_exists() -> None:
    assert all(hasattr(contract, name) for name in contract.__all__)
