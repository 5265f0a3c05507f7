"""Finding or fetching an Odoo, on machines with different apt sources."""

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


def test_archive_is_found_in_deb822_sources(apt: Path) -> None:
    (apt / "sources.list.d/debian.sources").write_text(STANZAS)

    assert archives(apt, codename="bookworm") == [Archive(uris=DEBIAN, signed_by=KEYRING)]


def test_archive_is_found_with_an_inline_key(apt: Path) -> None:
    (apt / "sources.list.d/debian.sources").write_text(INLINE_KEY)

    (archive,) = archives(apt, codename="bookworm")
    assert archive.signed_by.splitlines()[0] == "-----BEGIN PGP PUBLIC KEY BLOCK-----"
    assert archive.signed_by.splitlines()[-1] == " -----END PGP PUBLIC KEY BLOCK-----"


def test_archive_is_found_in_one_line_sources(apt: Path) -> None:
    (apt / "sources.list").write_text(LINES)

    assert archives(apt, codename="bookworm") == [Archive(uris=DEBIAN, signed_by=KEYRING)]


def test_archive_is_found_under_an_alias_of_a_release(apt: Path) -> None:
    (apt / "sources.list").write_text(f"deb {DEBIAN} stable main\n")

    assert archives(apt, codename="bookworm") == [Archive(uris=DEBIAN)]


def test_archive_that_is_listed_twice_is_used_once(apt: Path) -> None:
    (apt / "sources.list").write_text(f"deb {DEBIAN} bookworm main\ndeb {DEBIAN} sid main\n")

    assert archives(apt, codename="bookworm") == [Archive(uris=DEBIAN)]


def test_odoo_bin_overrides_cache_and_archive(apt: Path, cache: Path) -> None:
    odoo = provide(environ={"ODOO_BIN": sys.executable}, cache=cache, apt=apt)

    assert odoo.command == (sys.executable,)
    assert not cache.parent.exists()


def test_odoo_bin_that_is_no_program_raises(apt: Path, cache: Path) -> None:
    with pytest.raises(NoOdoo, match="'/nowhere/odoo', which is no program"):
        provide(environ={"ODOO_BIN": "/nowhere/odoo"}, cache=cache, apt=apt)


def test_machine_without_odoo_and_debian_raises_a_sentence(apt: Path, cache: Path) -> None:
    with pytest.raises(NoOdoo) as caught:
        provide(environ={}, cache=cache, apt=apt)

    sentence = str(caught.value)
    assert "ODOO_BIN" in sentence
    assert "Debian" in sentence
    assert sentence.count(".") == 1
    assert not cache.exists()


def test_unreachable_archive_raises_and_leaves_no_cache(apt: Path, cache: Path) -> None:
    (apt / "sources.list").write_text(f"deb file:{apt}/nowhere stable main\n")

    with pytest.raises(NoOdoo, match="nowhere"):
        provide(environ={}, cache=cache, apt=apt)
    assert list(cache.parent.iterdir()) == []


def test_cached_odoo_is_used_without_the_network(apt: Path, cache: Path) -> None:
    (cache / "usr/bin").mkdir(parents=True)
    (cache / "usr/bin/odoo").touch()

    odoo = provide(environ={}, cache=cache, apt=apt)
    assert odoo.command == (sys.executable, str(cache / "usr/bin/odoo"))
    assert odoo.environment == {"PYTHONPATH": str(cache / "usr/lib/python3/dist-packages")}
