"""
Find an Odoo 19 to test against, or download one.

`ODOO_BIN` names the `odoo` program of an installed Odoo 19, whose Python must have
`odoo-mcp-fleet[client]`.

Without `ODOO_BIN`, this module downloads the package `odoo-19` from Debian's suite `sid` and
unpacks it into a cache folder. It does not change the system: it takes the archive's address
and keyring from the machine's apt sources, but keeps package lists and downloads in a folder of
its own. That Odoo runs on the current Python, which must have Odoo's requirements installed.

Run as a program, it prints the command that starts Odoo, after a download if necessary.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Archive", "NoOdoo", "Odoo", "archives", "provide"]

CACHE = Path(__file__).parents[3] / ".cache" / "odoo-19"

# Odoo, and the packages whose files Odoo's web client links to.
PACKAGES = (
    "odoo-19",
    "libjs-jquery",
    "libjs-jquery-form",
    "libjs-underscore",
    "fonts-font-awesome",
    "fonts-inconsolata",
    "fonts-montserrat",
    "fonts-ocr-b",
    "fonts-roboto-unhinted",
)

ALIASES = {"stable", "oldstable", "testing", "unstable", "sid"}


class NoOdoo(Exception):
    """No Odoo 19 can be found or downloaded; the message is a sentence with the reason."""


@dataclass(frozen=True)
class Odoo:
    """
    An Odoo 19 that can be started.

    Attributes:
        command: The program and its first arguments.
        environment: Environment variables to add to those of this process.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Archive:
    """
    A Debian archive from this machine's apt sources.

    Attributes:
        uris: Addresses of the archive, separated by blanks, as in the sources.
        signed_by: Path of the keyring, or the key itself, as in the sources; empty for apt's
            own keyrings.
    """

    uris: str
    signed_by: str = ""


def provide(
    *, environ: Mapping[str, str], cache: Path = CACHE, apt: Path = Path("/etc/apt")
) -> Odoo:
    """
    The Odoo of `ODOO_BIN`, else the cached one, else a downloaded one.

    Only the download needs the network. Raises `NoOdoo`.
    """
    if named := environ.get("ODOO_BIN"):
        return Odoo(command=(_program(named),))
    if not (cache / "usr/bin/odoo").exists():
        _fetch(cache, archives(apt, codename=_codename()))
    return Odoo(
        command=(sys.executable, str(cache / "usr/bin/odoo")),
        environment={"PYTHONPATH": str(cache / "usr/lib/python3/dist-packages")},
    )


def archives(apt: Path, *, codename: str) -> list[Archive]:
    """
    The archives in apt's sources that may be Debian's, without duplicates, in their order.

    These have the component `main` in a suite that is the Debian release `codename` or one
    of Debian's aliases.
    """
    suites = {codename, *ALIASES}
    found = [
        Archive(uris=stanza["uris"], signed_by=stanza.get("signed-by", ""))
        for stanza in _stanzas(apt)
        if "deb" in stanza.get("types", "").split()
        and "main" in stanza.get("components", "").split()
        and suites.intersection(stanza.get("suites", "").split())
        and stanza.get("enabled", "yes") != "no"
    ]

    return list(dict.fromkeys(found))


def _program(named: str) -> str:
    program = shutil.which(named)
    if program is None:
        raise NoOdoo(f"ODOO_BIN names {named!r}, which is no program.")
    return program


def _codename() -> str:
    try:
        release = Path("/etc/os-release").read_text()
    except FileNotFoundError:
        return ""
    match = re.search(r'^VERSION_CODENAME="?([^"\n]*)', release, re.MULTILINE)
    return match[1] if match else ""


def _stanzas(apt: Path) -> Iterator[Mapping[str, str]]:
    folder = apt / "sources.list.d"
    for path in sorted(folder.glob("*.sources")):
        yield from _deb822(path.read_text())
    for path in [apt / "sources.list", *sorted(folder.glob("*.list"))]:
        if path.exists():
            yield from _one_line(path.read_text())


def _deb822(text: str) -> Iterator[Mapping[str, str]]:
    """The stanzas of a `.sources` file (deb822); values may have several lines."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        if fields:
            yield {name.lower(): value.strip() for name, value in fields}


def _one_line(text: str) -> Iterator[Mapping[str, str]]:
    """The lines of a `.list` file, each as the equivalent stanza."""
    pattern = r"^\s*(deb)\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)\s+([^#\n]+)"
    for kind, options, uri, suite, components in re.findall(pattern, text, re.MULTILINE):
        signed_by = re.search(r"signed-by=(\S+)", options)
        yield {
            "types": kind,
            "uris": uri,
            "suites": suite,
            "components": components,
            "signed-by": signed_by[1].replace(",", " ") if signed_by else "",
        }


def _fetch(cache: Path, sources: Iterable[Archive]) -> None:
    """Fill the cache folder atomically: it gets its name when it is complete."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise _no_odoo("this machine has no apt")
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix=f"{cache.name}-") as folder:
        work = Path(folder)
        for package in _download(work, sources):
            _run("dpkg", "-x", str(package), str(work / "root"))
        _rename(work / "root", cache)


def _download(work: Path, sources: Iterable[Archive]) -> list[Path]:
    """Download the packages from the first archive that has them; returns their files."""
    why = "none of this machine's apt sources is Debian's"
    for archive in sources:
        options = _own_apt(work, archive)
        try:
            _run("apt-get", *options, "update")
            _run("apt-get", *options, "download", *PACKAGES, cwd=work)
        except subprocess.CalledProcessError as error:
            why = _last_line(error.stderr) or str(error)
            continue
        return sorted(work.glob("*.deb"))
    raise _no_odoo(why)


def _own_apt(work: Path, archive: Archive) -> list[str]:
    """Options for apt-get: only the suite `sid` of one archive, all its files below `work`."""
    stanza = {"Types": "deb", "URIs": archive.uris, "Suites": "sid", "Components": "main"}
    if archive.signed_by:
        stanza["Signed-By"] = archive.signed_by
    for folder in ("sources", "lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    text = "".join(f"{name}: {value}\n" for name, value in stanza.items())
    (work / "sources" / "sid.sources").write_text(text)
    settings = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": work / "sources",
        "Dir::State::Lists": work / "lists",
        "Dir::Cache": work / "cache",
        # apt's unprivileged user may not write into this folder.
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }

    return [f"-o{name}={value}" for name, value in settings.items()]


def _rename(root: Path, cache: Path) -> None:
    try:
        root.rename(cache)
    except OSError:
        # A concurrent run has filled the cache with the same content.
        if not (cache / "usr/bin/odoo").exists():
            raise


def _run(*command: str, cwd: Path | None = None) -> None:
    subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C"},
        check=True,
        capture_output=True,
        text=True,
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else ""


def _no_odoo(why: str) -> NoOdoo:
    return NoOdoo(
        "There is no Odoo 19 to test against: ODOO_BIN names none, and Debian's package odoo-19 "
        f"cannot be fetched ({why})."
    )


def main() -> None:
    """Print the command that starts Odoo, or exit with the reason why there is none."""
    try:
        odoo = provide(environ=os.environ)
    except NoOdoo as error:
        sys.exit(str(error))
    environment = [f"{name}={value}" for name, value in odoo.environment.items()]
    print(*environment, *odoo.command)  # noqa: T201


if __name__ == "__main__":
    main()
