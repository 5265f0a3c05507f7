"""Fixtures: the image, built from this checkout, and a fleet that compose.yaml starts."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from images.engine import CACHE, IMAGE, ROOT, Engine
from images.stack import Stack

BASE = r"^ARG BASE=(\S+)$"
SERVICES = {"caddy": "docker.io/library/caddy:2", "postgres": "docker.io/library/postgres:17"}


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine(CACHE)


@pytest.fixture(scope="session")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of the image of the receiver."""
    (base,) = re.findall(BASE, (ROOT / "Containerfile").read_text(), re.MULTILINE)
    engine.make_base(base)
    engine.build_image(settings_of_pip=tmp_path_factory.mktemp("pip") / "pip.conf")
    return IMAGE


@pytest.fixture(scope="module")
def stack(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The services of compose.yaml, which all are healthy."""
    engine.make_services(SERVICES)
    with Stack(engine, tmp_path_factory.mktemp("stack")).running() as stack:
        yield stack


@pytest.fixture
def volume(engine: Engine, tmp_path: Path) -> Iterator[str]:
    """The name of a new volume."""
    name = f"fleet-{tmp_path.name.lower()}"
    engine.run("podman", "volume", "create", name)
    yield name
    engine.run("podman", "volume", "rm", "--force", name)


@pytest.fixture
def network(engine: Engine, tmp_path: Path) -> Iterator[str]:
    """
    The name of a new network, with addresses that no other network of this machine has.

    The one that podman uses by default has the same addresses on each machine. A bridge that
    another podman made for them may be there still, and then gets what is sent to a container.
    """
    name = f"fleet-{tmp_path.name.lower()}"
    engine.run("podman", "network", "create", name)
    yield name
    engine.run("podman", "network", "rm", "--force", name)
