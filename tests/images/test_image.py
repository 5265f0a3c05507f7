"""The image of the receiver, as a container that may do as little as possible."""

import json

import httpx
import pytest

import messages
from images.engine import Engine, program
from ports import free_port
from servers import wait_until

CONFINED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
SHELLS = ("/usr/bin/dash", "/usr/bin/bash")
WITHOUT_A_SHELL = [f"--volume=/dev/null:{shell}:ro" for shell in SHELLS]


class Container:
    """A container of the image, without a shell in it, whose port is one of this machine."""

    def __init__(self, engine: Engine, image: str, volume: str, network: str) -> None:
        self.name = f"of-{volume}"
        self._engine = engine
        port = free_port()
        engine.run(
            *("podman", "run", "--detach", "--name", self.name, *CONFINED, *WITHOUT_A_SHELL),
            *("--volume", f"{volume}:/var/lib/odoo-mcp-fleet"),
            *("--network", network, "--publish", f"127.0.0.1:{port}:8000", image),
        )
        self.url = f"http://127.0.0.1:{port}"

    def do(self, *command: str) -> str:
        return self._engine.run("podman", "exec", self.name, *command)

    def stop(self) -> int:
        """Ask the receiver to end; returns its exit status."""
        self._engine.run("podman", "stop", "--time", "20", self.name)
        status = self._engine.run("podman", "inspect", "--format", "{{.State.ExitCode}}", self.name)
        return int(status)

    def remove(self) -> None:
        self._engine.run("podman", "rm", "--force", "--time", "5", self.name)


def test_confined_container_without_a_shell_keeps_its_fleet(
    engine: Engine, image: str, volume: str, network: str
) -> None:
    first = Container(engine, image, volume, network)
    try:
        engine.wait_until_healthy(first.name)
        key = first.do("odoo-mcp-fleet", "keys", "create", "--name=a", "--scope=admin")
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=first.url, headers=headers, trust_env=False) as client:
            wait_until(lambda: client.get("/servers").status_code == 200)
            counts = [
                client.post("/heartbeat", json=messages.heartbeat()).json()["heartbeat_count"]
                for _ in range(2)
            ]
        status = first.stop()
    finally:
        first.remove()

    second = Container(engine, image, volume, network)
    try:
        engine.wait_until_healthy(second.name)
        found = httpx.get(f"{second.url}/servers", headers=headers, trust_env=False).json()
    finally:
        second.remove()

    assert ([1, 2], 0) == (counts, status)
    assert [2] == [each["heartbeat_count"] for each in found["servers"]]


def test_health_check_fails_while_the_receiver_hangs(
    engine: Engine, image: str, volume: str, network: str
) -> None:
    container = Container(engine, image, volume, network)
    try:
        engine.wait_until_healthy(container.name)
        engine.run("podman", "kill", "--signal", "STOP", container.name)
        hangs = engine.is_healthy(container.name)
        engine.run("podman", "kill", "--signal", "CONT", container.name)
        engine.wait_until_healthy(container.name)
    finally:
        container.remove()

    assert not hangs


def test_container_has_no_privileges(engine: Engine, image: str) -> None:
    """Also without the options that confine it further."""
    asked = ("-c", "import os; print(os.getuid())")
    who = engine.run("podman", "run", "--rm", "--entrypoint=python", image, *asked)
    (found,) = json.loads(engine.run("podman", "image", "inspect", image))

    assert "10001" == who
    assert "10001:10001" == found["Config"]["User"]
    assert found["Healthcheck"]["Test"][0] == "CMD", "a shell would be needed"
    assert "/bin/sh" not in found["Config"]["Cmd"]


def test_image_has_neither_the_settings_of_pip_nor_what_built_it(
    engine: Engine, image: str
) -> None:
    """A mirror may have an address that is nobody else's business, or a password in it."""
    told = engine.run(program("pip"), "config", "list")
    values = [line.partition("=")[2].strip("'") for line in told.splitlines()]
    places = {word for value in values for word in value.split()}
    history = engine.run("podman", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    code = "import os, shutil; print(os.path.exists('/etc/pip.conf'), shutil.which('pip'))"

    assert "False None" == engine.run(
        "podman", "run", "--rm", "--entrypoint=python", image, "-c", code
    )
    assert set() == {each for each in places if len(each) > 5 and each in history}


@pytest.mark.parametrize("name", ["LICENSE", "METADATA"])
def test_image_has_the_package_as_it_is_installed(engine: Engine, image: str, name: str) -> None:
    """With its licence, and what `--version` reads."""
    code = (
        "from importlib.metadata import files; "
        f"print(*[f for f in files('odoo-mcp-fleet') if f.name == '{name}'])"
    )

    assert name in engine.run("podman", "run", "--rm", "--entrypoint=python", image, "-c", code)
