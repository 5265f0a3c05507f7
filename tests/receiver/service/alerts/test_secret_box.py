"""Addresses of channels are encrypted with keys that are not in the database."""

from pathlib import Path

import pytest

from receiver.domain.errors import Refusal
from receiver.service.alerts.secret_box import (
    InvalidKey,
    SecretBox,
    Undecryptable,
    read_key_file,
)

pytestmark = pytest.mark.one_database

SECRET = "mailtos://user:päss@example.com"


def test_encrypted_secret_is_decrypted_again() -> None:
    box = SecretBox.of(SecretBox.new_key())

    sealed = box.seal(SECRET)

    assert b"example" not in sealed
    assert SECRET == box.open(sealed)


def test_first_secret_key_encrypts_and_all_decrypt() -> None:
    old, new = SecretBox.new_key(), SecretBox.new_key()
    both = SecretBox.of(f"{new}, {old}\n")

    assert SECRET == both.open(SecretBox.of(old).seal(SECRET))
    assert SECRET == SecretBox.of(new).open(both.seal(SECRET))


def test_secret_is_encrypted_anew_with_the_first_key_if_it_was_with_another() -> None:
    old, new = SecretBox.new_key(), SecretBox.new_key()
    both, sealed = SecretBox.of(f"{new},{old}"), SecretBox.of(old).seal(SECRET)

    renewed = both.renewed(sealed)

    assert (False, True) == (both.is_newest(sealed), both.is_newest(renewed))
    assert SECRET == SecretBox.of(new).open(renewed)
    assert renewed == both.renewed(renewed)
    with pytest.raises(Undecryptable, match="another key"):
        SecretBox.of(SecretBox.new_key()).renewed(sealed)


def test_secret_is_not_decrypted_with_another_key() -> None:
    sealed = SecretBox.of(SecretBox.new_key()).seal(SECRET)

    for box in (SecretBox(), SecretBox.of(SecretBox.new_key())):
        with pytest.raises(Undecryptable, match="another key"):
            box.open(sealed)


def test_encryption_is_refused_without_a_secret_key() -> None:
    box = SecretBox()

    with pytest.raises(Refusal, match="odoo-mcp-fleet secret-key") as refused:
        box.seal(SECRET)

    assert (409, "no_secret_key") == (refused.value.status, refused.value.code)
    assert not box.has_key


@pytest.mark.parametrize("text", ["", "secret", "ä" * 44, "A" * 43 + "=,"])
def test_text_that_is_no_secret_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidKey):
        SecretBox.of(text)


def test_repr_of_a_secret_box_does_not_show_its_keys() -> None:
    key = SecretBox.new_key()

    assert key not in repr(SecretBox.of(key))
    assert key not in str(vars(SecretBox.of(key)))


def test_key_file_is_read_if_only_its_owner_may(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("the key\n")
    file.chmod(0o600)

    assert "the key\n" == read_key_file(str(file))
    for mode in (0o640, 0o604, 0o620, 0o601):
        file.chmod(mode)
        with pytest.raises(ValueError, match=f"chmod 600 {file}"):
            read_key_file(str(file))


def test_folder_is_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no file"):
        read_key_file(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        read_key_file(str(tmp_path / "missing"))
