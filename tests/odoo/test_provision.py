"""Where an Odoo is looked for, on machines of every kind."""

import sys
from pathlib import Path

import pytest

from provision import Archive, NoOdoo, archives, provide

DEBIAN = "http://archive.example/debian"
KEYRING = "/usr/share/keyrings/archive.gpg"

STANZAS = f"""\
# The machine's own.
Types: deb deb-src
URIs: {DEBIAN}
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: {KEYRING}

Types: deb
URIs: http://archive.example/security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://vendor.example/tool
Suites: nodistro
Components: main

Enabled: no
Types: deb
URIs: http://archive.example/off
Suites: bookworm
Components: main
"""

INLINE_KEY = f"""\
Types: deb
URIs: {DEBIAN}
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 bWFkZSB1cA==
 -----END PGP PUBLIC KEY BLOCK-----
"""

LINES = f"""\
# deb http://archive.example/old bookworm main
deb [arch=amd64 signed-by={KEYRING}] {DEBIAN} bookworm main contrib  # the machine's own
deb-src {DEBIAN} bookworm main
deb http://vendor.example/apt tool-bookworm main
deb http://vendor.example/apt bookworm tool
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    return tmp_path / "apt"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache/odoo-19"


def test_archive_is_found_in_sources_of_stanzas(apt: Path) -> None:
    (apt / "sources.list.d/debian.sources").write_text(STANZAS)

    assert archives(apt, codename="bookworm") == [Archive(uris=DEBIAN, signed_by=KEYRING)]


def test_archive_is_found_with_a_key_of_many_lines(apt: Path) -> None:
    (apt / "sources.list.d/debian.sources").write_text(INLINE_KEY)

    (archive,) = archives(apt, codename="bookworm")
    assert archive.signed_by.splitlines()[0] == "-----BEGIN PGP PUBLIC KEY BLOCK-----"
    assert archive.signed_by.splitlines()[-1] == " -----END PGP PUBLIC KEY BLOCK-----"


def test_archive_is_found_in_a_list_of_lines(apt: Path) -> None:
    (apt / "sources.list").write_text(LINES)

    assert archives(apt, codename="bookworm") == [Archive(uris=DEBIAN, signed_by=KEYRING)]


def test_archive_is_found_under_an_alias_of_a_release(apt: Path) -> None:
    (apt / "sources.list").write_text(f"deb {DEBIAN} stable main\n")

    assert archives(apt, codename="bookworm") == [Archive(uris=DEBIAN)]


def test_archive_that_is_named_twice_is_taken_once(apt: Path) -> None:
    (apt / "sources.list").write_text(f"deb {DEBIAN} bookworm main\ndeb {DEBIAN} sid main\n")

    assert archives(apt, codename="bookworm") == [Archive(uris=DEBIAN)]


def test_odoo_bin_goes_before_everything(apt: Path, cache: Path) -> None:
    odoo = provide(environ={"ODOO_BIN": sys.executable}, cache=cache, apt=apt)

    assert odoo.command == (sys.executable,)
    assert not cache.parent.exists()


def test_odoo_bin_that_is_no_program_is_named(apt: Path, cache: Path) -> None:
    with pytest.raises(NoOdoo, match="'/nowhere/odoo', which is no program"):
        provide(environ={"ODOO_BIN": "/nowhere/odoo"}, cache=cache, apt=apt)


def test_machine_without_odoo_and_without_debian_is_told_in_a_sentence(
    apt: Path, cache: Path
) -> None:
    with pytest.raises(NoOdoo) as caught:
        provide(environ={}, cache=cache, apt=apt)

    sentence = str(caught.value)
    assert "ODOO_BIN" in sentence
    assert "Debian" in sentence
    assert sentence.count(".") == 1
    assert not cache.exists()


def test_archive_that_cannot_be_reached_is_told_and_leaves_nothing(apt: Path, cache: Path) -> None:
    (apt / "sources.list").write_text(f"deb file:{apt}/nowhere stable main\n")

    with pytest.raises(NoOdoo, match="nowhere"):
        provide(environ={}, cache=cache, apt=apt)
    assert list(cache.parent.iterdir()) == []


def test_what_is_in_the_cache_is_used_without_asking_anybody(apt: Path, cache: Path) -> None:
    (cache / "usr/bin").mkdir(parents=True)
    (cache / "usr/bin/odoo").touch()

    odoo = provide(environ={}, cache=cache, apt=apt)
    assert odoo.command == (sys.executable, str(cache / "usr/bin/odoo"))
    assert odoo.environment == {"PYTHONPATH": str(cache / "usr/lib/python3/dist-packages")}
