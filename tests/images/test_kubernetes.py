"""The manifests for Kubernetes, which kubectl renders and the schemas of Kubernetes describe."""

import re
import subprocess
from functools import cache
from pathlib import Path
from shutil import copytree
from typing import Any

import kubernetes_validate
import pytest
import tomllib
import yaml  # type: ignore[import-untyped]  # its stubs are another package

from images.engine import ROOT, program
from receiver.app import create_app
from receiver.settings import misspelt, read_settings

FOLDER = ROOT / "deploy/kubernetes"
VERSIONS = ["1.30", "1.37"]
"""The oldest that knows all fields for sure, and the newest whose schemas are known."""


@cache
def rendered() -> list[dict[str, Any]]:
    command = [program("kubectl"), "kustomize", str(FOLDER)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [*yaml.safe_load_all(said)]


def only(kind: str) -> dict[str, Any]:
    (found,) = [each for each in rendered() if each["kind"] == kind]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_valid(version: str) -> None:
    for each in rendered():
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_field_that_does_not_exist_is_noticed(version: str) -> None:
    deployment = yaml.safe_load(yaml.safe_dump(only("Deployment")))
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, version, strict=True)


def test_every_file_is_rendered() -> None:
    """But for the ConfigMap, which is made of a list, each manifest has a file of its own."""
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]

    assert {file.name for file in FOLDER.iterdir()} == {"kustomization.yaml", *listed}
    assert len(listed) + 1 == len(rendered())


def test_selectors_find_the_receivers() -> None:
    pod = only("Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        only("Service")["spec"]["selector"],
        only("Deployment")["spec"]["selector"]["matchLabels"],
        only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]

    assert all(selector.items() <= pod.items() for selector in selectors)
    assert all(selectors)


def test_probes_ask_what_the_receiver_answers() -> None:
    (container,) = only("Deployment")["spec"]["template"]["spec"]["containers"]
    paths = {getattr(route, "path", "") for route in create_app().routes}
    asked = {
        name: probe["httpGet"]["path"]
        for name, probe in container.items()
        if name.endswith("Probe")
    }

    assert {"startupProbe", "readinessProbe", "livenessProbe"} == {*asked}
    assert {*asked.values()} <= paths
    assert "/health/live" == asked["livenessProbe"], "a restart mends no database"
    assert "/health" == asked["readinessProbe"]


def test_configuration_has_settings_only() -> None:
    given = only("ConfigMap")["data"]
    settings = read_settings(given)

    assert [] == misspelt(given)
    assert ("json", "https://fleet.example.com") == (settings.log_format, settings.public_url)


def test_receiver_may_take_the_time_that_its_stop_takes() -> None:
    drain = read_settings(only("ConfigMap")["data"]).drain.total_seconds()
    pod = only("Deployment")["spec"]["template"]["spec"]

    assert 0 < drain < pod["terminationGracePeriodSeconds"] - 10


def test_pod_may_as_little_as_it_can() -> None:
    """What the level `restricted` of Kubernetes, which the namespace enforces, asks of a pod."""
    pod = only("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert {"type": "RuntimeDefault"} == pod["securityContext"]["seccompProfile"]
    assert {"drop": ["ALL"]} == container["securityContext"]["capabilities"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not pod["automountServiceAccountToken"]


def test_one_receiver_always_serves() -> None:
    deployment = only("Deployment")["spec"]

    assert 0 == deployment["strategy"]["rollingUpdate"]["maxUnavailable"]
    assert 1 == only("PodDisruptionBudget")["spec"]["minAvailable"] < deployment["replicas"]


def test_image_is_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    (container,) = only("Deployment")["spec"]["template"]["spec"]["containers"]

    assert version.partition(".dev")[0] == container["image"].rpartition(":")[2]


def overlay() -> str:
    """The overlay that docs/operations.md shows."""
    page = (ROOT / "docs/operations.md").read_text()
    blocks: list[str] = re.findall(r"^```yaml\n(.+?)^```$", page, re.MULTILINE | re.DOTALL)
    (found,) = [each for each in blocks if "../deploy/kubernetes" in each]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_overlay_of_the_manual_replaces_what_it_names(version: str, tmp_path: Path) -> None:
    copytree(ROOT / "deploy", tmp_path / "deploy")
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet/kustomization.yaml").write_text(overlay())
    command = [program("kubectl"), "kustomize", str(tmp_path / "fleet")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {each["kind"]: each for each in yaml.safe_load_all(said)}

    for each in found.values():
        kubernetes_validate.validate(each, version, strict=True)
    assert {each["kind"] for each in rendered()} == {*found}
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    (base,) = only("Deployment")["spec"]["template"]["spec"]["containers"]
    assert f"registry.acme.example/fleet:{base['image'].rpartition(':')[2]}" == container["image"]
    assert "fleet.example.com" not in said
    given = found["ConfigMap"]["data"]
    assert only("ConfigMap")["data"].keys() == given.keys()
    assert "https://fleet.acme.example" == read_settings(given).public_url
    ingress, prometheus = found["NetworkPolicy"]["spec"]["ingress"][0]["from"]
    assert {"kubernetes.io/metadata.name": "ingress-nginx"} == (
        ingress["namespaceSelector"]["matchLabels"]
    )
    assert {"kubernetes.io/metadata.name": "monitoring"} == (
        prometheus["namespaceSelector"]["matchLabels"]
    )
