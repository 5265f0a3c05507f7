"""The addon's package, README and translations."""

import importlib.util
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import polib
import pytest

from odoo_program import ADDONS, OdooProgram
from translations import LANGUAGES, TEMPLATE, language_file

ADDON = "mcp_phone_home"
FOLDER = ADDONS / ADDON

PIP = (sys.executable, "-m", "pip")
NAMES = """
model = env['ir.model']._get('mcp.heartbeat')
print(*(model.with_context(lang=code).name for code in {}), sep='|', end='')
"""
HIDE_HTTPX = """
import importlib.metadata
import sys

known = importlib.metadata.version

def version(name):
    if name == "httpx":
        raise importlib.metadata.PackageNotFoundError(name)
    return known(name)

importlib.metadata.version = version
sys.modules["httpx"] = None
"""
OLD_LIBRARY = """
import importlib.metadata

known = importlib.metadata.version
importlib.metadata.version = lambda name: "0.1.0" if name == "odoo-mcp-fleet" else known(name)
"""
INSTALL = f"""
from odoo.exceptions import UserError
try:
    env["ir.module.module"].search([("name", "=", "{ADDON}")]).button_immediate_install()
except UserError as error:
    print(error)
"""
WHERE = f"from odoo.addons.{ADDON}.services import phone_home; print(phone_home.__file__)"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The addon's wheel, built from a copy of its folder."""
    folder = tmp_path_factory.mktemp("wheel")
    addon = shutil.copytree(FOLDER, folder / ADDON)
    subprocess.run(
        [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, addon],
        # whool asks git for the addon's files, and would find the checkout around the copy.
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(folder)},
        check=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_package_requires_the_client_and_holds_the_data_files(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        told = files.read(metadata).decode()

    assert "Requires-Dist: odoo-mcp-fleet[client]>=0.2.0.dev0\n" in told
    assert "Requires-Dist: odoo==19.0.*\n" in told
    packed = {name.removeprefix(f"odoo/addons/{ADDON}/") for name in names}
    assert {"data/neutralize.sql", "i18n/de.po", "static/description/icon.png"} <= packed


def test_package_installs_beside_the_client(
    odoo: OdooProgram, database: str, wheel: Path, tmp_path: Path
) -> None:
    packages = tmp_path / "packages"
    subprocess.run([*PIP, "install", "--no-deps", "--target", packages, wheel], check=True)
    bare = odoo.config_with(tmp_path / "odoo.conf", addons_path=None)
    environment = odoo.with_packages(packages)

    assert [] == odoo.install(database, ADDON, bare, **environment).log.complaints()
    found = odoo.shell(database, WHERE, bare, **environment).output.strip()
    assert str(packages / f"odoo/addons/{ADDON}/services/phone_home.py") == found


def test_install_names_a_missing_python_package(
    odoo: OdooProgram, database: str, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDE_HTTPX)

    said = odoo.shell(database, INSTALL, **odoo.with_packages(tmp_path)).output
    assert "an external dependency is not met: httpx" in said


def test_install_names_a_library_that_is_too_old(
    odoo: OdooProgram, database: str, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(OLD_LIBRARY)

    said = odoo.shell(database, INSTALL, **odoo.with_packages(tmp_path)).output
    assert "an external dependency is not met: odoo-mcp-fleet[client]>=0.2.0.dev0" in said


def test_readme_is_generated_from_the_fragments() -> None:
    """`nox -s readme` generates it."""
    expected = generator().generated(FOLDER)

    assert expected == {path: path.read_text() for path in expected}


def test_images_of_the_readme_exist() -> None:
    names = re.findall(r"(?:figure|image):: (\S+)", (FOLDER / "README.rst").read_text())

    assert "static/description/settings.png" in names
    assert [] == [name for name in names if not (FOLDER / name).exists()]


def test_icon_is_a_png_of_128_pixels() -> None:
    header = (FOLDER / "static/description/icon.png").read_bytes()[:24]

    assert (b"\x89PNG\r\n\x1a\n", (128, 128)) == (header[:8], struct.unpack(">II", header[16:]))


def test_translation_template_equals_the_export_of_odoo(
    odoo: OdooProgram, installed: str, tmp_path: Path
) -> None:
    """`nox -s translations` exports it, and updates the languages."""
    exported = odoo.export_translations(installed, ADDON, tmp_path / "new.pot")

    expected = texts(exported)
    assert expected
    assert expected == texts(TEMPLATE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated(language: str) -> None:
    template = polib.pofile(str(TEMPLATE))
    translated = polib.pofile(str(language_file(language)))

    ours = {entry.msgid: entry for entry in translated}
    assert {entry.msgid for entry in template} == set(ours)
    assert [] == [text for text, entry in ours.items() if not entry.msgstr or entry.fuzzy]
    differ = [t for t, e in ours.items() if placeholders(t) != placeholders(e.msgstr)]
    assert [] == differ


def test_odoo_loads_every_language(odoo: OdooProgram, installed: str) -> None:
    codes = [f"{language}_{language.upper()}" for language in LANGUAGES]
    loaded = odoo.run("i18n", "loadlang", "-d", installed, "-l", *LANGUAGES)

    names = odoo.shell(installed, NAMES.format(codes)).output.split("|")
    assert [] == loaded.log.complaints()
    assert [translation(language, "MCP Heartbeat") for language in LANGUAGES] == names


def texts(path: Path) -> dict[str, list[str]]:
    """The texts to translate, each with its occurrences."""
    return {
        entry.msgid: sorted(file for file, _ in entry.occurrences)
        for entry in polib.pofile(str(path))
    }


def translation(language: str, text: str) -> str:
    entry = polib.pofile(str(language_file(language))).find(text)
    assert entry is not None
    return str(entry.msgstr)


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%(?:\(\w+\))?[sd]", text))


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_readme", ADDONS / "generate_readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
