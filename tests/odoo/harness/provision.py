"""
Find an Odoo 19 to test against, or fetch one.

`ODOO_BIN` names the `odoo` program of an Odoo 19 that is already here.
The Python it runs on must have `odoo-mcp-fleet[client]` installed.

Otherwise the package `odoo-19` is fetched from Debian's suite `sid` and unpacked into a
cache folder, without touching the system: the archive's address and its keyring are those
of the machine's own apt sources, but lists and downloads go into a folder of their own.
It then runs on the Python that runs this, which must have Odoo's requirements installed.

As a program: prints the command that starts Odoo, fetching it first if need be.
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

# Odoo's web client links to what these install.
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
    """There is no Odoo 19 to be had here; the message is one sentence that says why."""


@dataclass(frozen=True)
class Odoo:
    """
    An Odoo 19 that can be started.

    Attributes:
        command: The program and its first arguments.
        environment: Variables it needs beyond those of this process.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Archive:
    """
    A Debian archive that this machine's apt uses.

    Attributes:
        uris: Its addresses, separated by blanks, as apt's sources have them.
        signed_by: Path of the keyring, or the key itself, as apt's sources have it;
            empty where they trust apt's own keyrings.
    """

    uris: str
    signed_by: str = ""


def provide(
    *, environ: Mapping[str, str], cache: Path = CACHE, apt: Path = Path("/etc/apt")
) -> Odoo:
    """
    The Odoo that `ODOO_BIN` names, else the one in the cache, else a fetched one.

    What is in the cache needs no network. Raises `NoOdoo`.
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
    The archives in apt's sources that may be Debian's: each once, in their order.

    That is, those with the component `main` in a suite that is Debian's release
    `codename` or one of Debian's aliases.
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
    """The stanzas of a `.sources` file; a value of several lines keeps them."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        if fields:
            yield {name.lower(): value.strip() for name, value in fields}


def _one_line(text: str) -> Iterator[Mapping[str, str]]:
    """The lines of a `.list` file, as the stanzas they stand for."""
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
    """Fill the cache. What is half done is never seen under its name."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise _no_odoo("this machine has no apt")
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix=f"{cache.name}-") as folder:
        work = Path(folder)
        for package in _download(work, sources):
            _run("dpkg", "-x", str(package), str(work / "root"))
        _rename(work / "root", cache)


def _download(work: Path, sources: Iterable[Archive]) -> list[Path]:
    """The packages, from the first archive that has them."""
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
    """Options for an apt that knows one suite of one archive and keeps to its own folder."""
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
        # The user that apt would change to may not write here.
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
        # Another run was faster; what it put there is as good.
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
    """Print the command, or the sentence that says why there is none."""
    try:
        odoo = provide(environ=os.environ)
    except NoOdoo as error:
        sys.exit(str(error))
    environment = [f"{name}={value}" for name, value in odoo.environment.items()]
    print(*environment, *odoo.command)  # noqa: T201


if __name__ == "__main__":
    main()
