"""The image has the versions that everything is tested with, and all that the receiver needs."""

import re
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
NEEDED = {
    "receiver.txt": [
        *PROJECT["project"]["dependencies"],
        *EXTRAS["receiver"],
        *EXTRAS["postgres"],
    ],
    "build.txt": PROJECT["dependency-groups"]["build"],
}
HOW = "run: nox -s lock_image"


def locked(name: str) -> set[tuple[str, str, frozenset[str]]]:
    """The name, version and hashes of each package in a file of requirements."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    return {
        (line.split("==")[0], line.split("==")[1].split()[0], frozenset(line.split("--hash=")[1:]))
        for line in text.replace(" --hash", "--hash").splitlines()
    }


@pytest.mark.parametrize("name", NEEDED)
def test_image_versions_and_hashes_are_those_of_the_constraints(name: str) -> None:
    everything = {(each, version): hashes for each, version, hashes in locked("constraints.txt")}

    for each, version, hashes in locked(f"deploy/image/{name}"):
        assert everything.get((each, version)) == hashes, f"{each} {version}; {HOW}"


@pytest.mark.parametrize("name", NEEDED)
def test_every_requirement_of_the_images_is_locked(name: str) -> None:
    asked = {re.split(r"[^\w.-]", each)[0].lower() for each in NEEDED[name]}

    assert asked <= {each for each, _, _ in locked(f"deploy/image/{name}")}, HOW
