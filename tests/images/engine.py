"""
Builds images and runs containers with buildah and podman, in a storage of the tests' own.

No registry of images is asked: what an image is built upon is made of Debian's packages by
mmdebstrap, and gets the name of the image that it stands in for.
"""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from servers import wait_until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".cache/images"
DEBIAN = "trixie"
MIRROR = "http://deb.debian.org/debian"
IMAGE = "localhost/odoo-mcp-fleet"

CONTAINERS = """
[containers]
default_ulimits = [{limits}]

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "{runtime}"

[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""

STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""


class Engine:
    """
    podman and buildah with a configuration and a storage that no other program uses.

    Args:
        folder: For the configuration and the images, which are kept for the next run.
    """

    def __init__(self, folder: Path) -> None:
        assert os.geteuid() == 0, "images are built and run as root"
        for name in ("buildah", "mmdebstrap", "podman"):
            program(name)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # Debian's crun takes no machine that has both versions of cgroups.
        runtime = "runc" if shutil.which("runc") else "crun"
        # By default podman asks for more than some machines let root have.
        wanted = (
            ("nofile", resource.RLIMIT_NOFILE, 65_536),
            ("nproc", resource.RLIMIT_NPROC, 4096),
        )
        allowed = [(name, min(most, resource.getrlimit(each)[1])) for name, each, most in wanted]
        limits = ", ".join(f'"{name}={number}:{number}"' for name, number in allowed)
        (folder / "containers.conf").write_text(
            CONTAINERS.format(folder=folder, limits=limits, runtime=runtime)
        )
        (folder / "storage.conf").write_text(STORAGE.format(folder=folder))
        self.environ = {
            **os.environ,
            "CONTAINERS_CONF": f"{folder}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
        }

    def run(self, *command: str | Path) -> str:
        """Run a program; returns its output. Raises AssertionError when it fails."""
        done = self.attempt(*command)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def attempt(
        self, *command: str | Path, folder: Path | None = None, **environ: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program in a folder, the checkout by default; returns its output and status."""
        return subprocess.run(
            command,
            cwd=folder or ROOT,
            env={**self.environ, **environ},
            check=False,
            capture_output=True,
            text=True,
        )

    def has_image(self, name: str) -> bool:
        return self.attempt("podman", "image", "exists", name).returncode == 0

    def build(self, *options: str | Path) -> None:
        # In a chroot, the commands of a build reach whatever this machine reaches.
        chosen = ("--isolation", "chroot", "--format", "docker", "--layers")
        self.run("buildah", "build", *chosen, *options)

    def make_base(self, name: str) -> None:
        """Make what stands in for an image of Python, unless it is there already."""
        self._make("python", "python3,python3-venv,ca-certificates", {"": name}, HERE / "Base")

    def make_services(self, names: dict[str, str]) -> None:
        """Make what stands in for images of others, by their targets in `Services`."""
        files = HERE / "Services", HERE / "postgres-entrypoint.sh"
        # compose.yaml needs a newer Caddy than this Debian has by itself.
        packages = f"caddy/{DEBIAN}-backports,postgresql-17"
        self._make("services", packages, names, *files)

    def _make(self, name: str, packages: str, images: dict[str, str], *files: Path) -> None:
        """
        Build images upon a Debian with these packages, unless that was done with the same files.

        Args:
            name: Of the folder that is built from.
            packages: The names of the packages, with commas.
            images: The names of the images, by their targets; an empty target for the only one.
            files: What is built, and what it takes from the folder.
        """
        folder = self.folder / name
        digest = sha256("".join([packages, *(each.read_text() for each in files)]).encode())
        done = folder / digest.hexdigest()
        if done.exists() and all(map(self.has_image, images.values())):
            return
        folder.mkdir(exist_ok=True)
        self._debian(packages, folder / "debian.tar")
        for each in files:
            shutil.copy(each, folder)
        for target, image in images.items():
            chosen = ("--target", target) if target else ()
            self.build("--tag", image, *chosen, "--file", files[0], folder)
        done.touch()

    def _debian(self, packages: str, file: Path) -> None:
        """Write the file system of a Debian with these packages."""
        unneeded = ("doc", "locale", "man")
        self.run(
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}"),
            *(f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in unneeded),
            *("--keyring=/usr/share/keyrings", DEBIAN, file, MIRROR),
            f"deb {MIRROR} {DEBIAN}-backports main",
        )

    def build_image(self, *, settings_of_pip: Path) -> None:
        """Build the image of the receiver; pip takes packages from where it does here."""
        places = write_settings_of_pip(settings_of_pip)
        mounts = [option for path in places for option in ("--volume", f"{path}:{path}:ro")]
        secret = f"id=pip.conf,src={settings_of_pip}"
        self.build("--tag", IMAGE, "--secret", secret, *mounts, ROOT)

    def is_healthy(self, container: str) -> bool:
        """Run the health check of a container once; without systemd nobody does by a timer."""
        return self.attempt("podman", "healthcheck", "run", container).returncode == 0

    def wait_until_healthy(self, container: str) -> None:
        def is_healthy() -> bool:
            running = self.run("podman", "inspect", "--format", "{{.State.Running}}", container)
            assert running == "true", self.attempt("podman", "logs", container).stderr
            return self.is_healthy(container)

        wait_until(is_healthy)


def program(name: str) -> str:
    """The path of a program. Fails where it is missing, because no test may be skipped."""
    found = shutil.which(name)
    assert found is not None, f"{name} is not installed; CONTRIBUTING.md says what is needed"
    return found


def write_settings_of_pip(file: Path) -> Sequence[Path]:
    """
    Write the settings of this machine's pip into a file for the build.

    Returns the files and folders of this machine that they name.
    """
    said = subprocess.run(
        [program("pip"), "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    settings: dict[str, str] = {}
    for line in said.splitlines():
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'\"").replace(r"\n", " ")
    settings.pop("constraint", None)  # the versions are locked
    lines = ["[global]", *(f"{name} = {value}" for name, value in settings.items())]
    file.write_text("\n".join([*lines, ""]))
    return sorted({path for value in settings.values() for path in _paths(value)})


def _paths(value: str) -> Iterator[Path]:
    for word in value.split():
        path = Path(word.removeprefix("file://"))
        if path.is_absolute() and path.exists():
            # An index refers to files beside its folder.
            has_neighbours = path.is_dir() and len(path.parts) > 3
            yield path.parent if has_neighbours else path
