"""
Update the addon's translation files in its folder `i18n`.

Run as a program, it exports the template from a real Odoo and merges it into the file of each
language. New texts have no translation then.
"""

import os
import sys
import tempfile
from pathlib import Path

import polib

from odoo_program import ADDONS, USER, OdooProgram
from postgres import running_postgres
from provision import provide

__all__ = ["LANGUAGES", "TEMPLATE", "language_file"]

ADDON = "mcp_phone_home"
FOLDER = ADDONS / ADDON / "i18n"
TEMPLATE = FOLDER / f"{ADDON}.pot"
LANGUAGES = ("de", "es", "fr")

# Headers that differ in each export and have no meaning.
_DATES = ("POT-Creation-Date", "PO-Revision-Date")


def language_file(language: str) -> Path:
    return FOLDER / f"{language}.po"


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    with running_postgres() as postgres, tempfile.TemporaryDirectory() as folder:
        odoo = OdooProgram(provide(environ=os.environ), postgres, Path(folder))
        postgres.create_database(ADDON, owner=USER)
        odoo.install(ADDON, ADDON)
        odoo.export_translations(ADDON, ADDON, TEMPLATE)
    template = polib.pofile(str(TEMPLATE), wrapwidth=78)
    _save(template, TEMPLATE)
    for language in LANGUAGES:
        _bring_up_to_date(language, template)
    return 0


def _bring_up_to_date(language: str, template: polib.POFile) -> None:
    path = language_file(language)
    translated = polib.pofile(str(path), wrapwidth=78) if path.exists() else polib.POFile()
    translated.merge(template)
    for entry in translated.obsolete_entries():
        translated.remove(entry)
    translated.metadata = {
        **template.metadata,
        "Language": language,
        "Plural-Forms": "nplurals=2; plural=(n != 1);",
    }
    _save(translated, path)


def _save(catalogue: polib.POFile, path: Path) -> None:
    for name in _DATES:
        catalogue.metadata.pop(name, None)
    catalogue.sort(key=lambda entry: entry.msgid)
    catalogue.save(str(path))


if __name__ == "__main__":
    sys.exit(main())
