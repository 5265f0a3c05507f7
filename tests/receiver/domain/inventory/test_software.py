"""The versions that a fleet runs: how they are counted and sorted."""

import pytest

from receiver.domain.inventory.software import (
    Running,
    Software,
    VersionCount,
    oldest,
    version_counts,
    version_key,
)

FLEET = [
    Running("19.0", "1.0.0", "production", 5),
    Running("19.0", "1.10.0", "staging", 7),
    Running("16.0", "1.9.0", "production", 2),
    Running("16.0", "", "", 2),
    Running("", "1.9.0", "dev", 1),
]


def test_versions_are_sorted_by_their_numbers() -> None:
    versions = ["", "master", "19.0", "18.0", "saas~18.3", "9.0", "17.0", "19.0+e-20250930"]
    versions += ["1." + "9" * 5000]

    assert [
        *("1." + "9" * 5000, "9.0", "17.0", "18.0", "saas~18.3", "19.0", "19.0+e-20250930"),
        *("master", ""),
    ] == sorted(versions, key=version_key)


def test_servers_are_counted_by_version_and_stage() -> None:
    assert [
        VersionCount(version="16.0", servers=4, stages=[("", 2), ("production", 2)]),
        VersionCount(version="19.0", servers=12, stages=[("staging", 7), ("production", 5)]),
        VersionCount(version="", servers=1, stages=[("dev", 1)]),
    ] == version_counts(FLEET, Software.ODOO)
    assert [("1.0.0", 5), ("1.9.0", 3), ("1.10.0", 7), ("", 2)] == [
        (each.version, each.servers) for each in version_counts(FLEET, Software.MCP_SERVER)
    ]


@pytest.mark.parametrize(
    ("versions", "expected"),
    [(["19.0", "16.0"], "16.0"), (["19.0"], None), (["19.0", "master", ""], None), ([], None)],
)
def test_oldest_version_is_older_than_another(versions: list[str], expected: str | None) -> None:
    running = [Running(version, "", "", 1) for version in versions]

    found = oldest(version_counts(running, Software.ODOO))

    assert expected == (found and found.version)
