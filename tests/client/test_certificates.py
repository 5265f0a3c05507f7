"""Which certificates the client trusts, tested with real TLS servers."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import trustme

from client import InvalidCertificates, PhoneHomeClient, Unreachable, Untrusted, trust_only
from client.__main__ import main
from contract import Heartbeat
from evil import Evil, answer, evil_server, say

BEAT = Heartbeat(server_id="acme_web-1")
NOW = datetime.now(timezone.utc)
LONG_AGO = NOW - timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """A PEM file with the certificate of the authority."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def test_receiver_of_the_named_authority_is_trusted(authority: trustme.CA, ca_file: Path) -> None:
    with server(authority.issue_cert("127.0.0.1")) as evil, client(evil, ca_file) as phone:
        receipt = phone.heartbeat(BEAT)

    assert 7 == receipt.heartbeat_count


def test_authority_in_the_environment_is_trusted(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    with server(authority.issue_cert("127.0.0.1")) as evil, PhoneHomeClient(evil.url) as phone:
        assert 7 == phone.heartbeat(BEAT).heartbeat_count


def test_named_authority_is_trusted_and_not_the_one_in_the_environment(
    authority: trustme.CA, ca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = trustme.CA()
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))

    assert "the authority that issued it is not known here" in refusal(
        other.issue_cert("127.0.0.1"), ca_file
    )


def test_certificate_of_an_unknown_authority_is_refused(authority: trustme.CA) -> None:
    assert "the authority that issued it is not known here" in refusal(
        authority.issue_cert("127.0.0.1"), None
    )


def test_certificate_with_a_wrong_name_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    assert "certificate is not valid for '127.0.0.1'" in refusal(
        authority.issue_cert("fleet.example"), ca_file
    )


def test_expired_certificate_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    expired = authority.issue_cert("127.0.0.1", not_before=LONG_AGO, not_after=LONG_AGO)

    assert "it has expired" in refusal(expired, ca_file)


def test_not_yet_valid_certificate_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    early = authority.issue_cert("127.0.0.1", not_before=NOW + timedelta(days=1))

    assert "not yet valid" in refusal(early, ca_file)


def test_self_signed_certificate_is_refused(ca_file: Path, tmp_path: Path) -> None:
    lonely = trustme.CA()
    lonely.cert_pem.write_to_path(tmp_path / "lonely.pem")
    lonely.private_key_pem.write_to_path(tmp_path / "lonely.pem", append=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "lonely.pem")

    with evil_server(say(OK), tls=context) as evil:
        sentence = refusal_by(evil, ca_file)

    assert sentence == (
        f"The certificate of the receiver at {evil.url} is not trusted: it is self-signed."
    )


def test_untrusted_certificate_is_a_temporary_failure(authority: trustme.CA) -> None:
    """A retry may succeed, since certificates are renewed."""
    waits: list[float] = []
    with (
        server(authority.issue_cert("127.0.0.1")) as evil,
        PhoneHomeClient(evil.url, attempts=2, sleep=waits.append) as phone,
        pytest.raises(Untrusted) as caught,
    ):
        phone.heartbeat(BEAT)

    assert caught.value.temporary
    assert issubclass(Untrusted, Unreachable)


def test_server_without_tls_is_unreachable_with_a_readable_reason(ca_file: Path) -> None:
    with evil_server(say(OK), listens=False) as evil:
        url = evil.url.replace("http:", "https:")
        with (
            PhoneHomeClient(url, verify=trust_only(ca_file)) as phone,
            pytest.raises(Unreachable) as caught,
        ):
            phone.heartbeat(BEAT)

    assert not isinstance(caught.value, Untrusted)
    assert f"The receiver at {url} cannot be reached: no TLS connection can be made, " in str(
        caught.value
    )


# The file of the authority


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"", "it holds no certificate in PEM"),
        (b"what is this?", "it holds no certificate in PEM"),
        (b"\xff\x00", "it holds no certificate in PEM"),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "it holds no certificate in PEM",
        ),
    ],
)
def test_certificate_file_without_an_authority_raises(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InvalidCertificates) as caught:
        trust_only(path)
    assert str(caught.value) == f"The authorities in the file '{path}' cannot be used: {why}."
    assert (caught.value.code, caught.value.path) == ("invalid_certificates", str(path))


def test_certificate_file_with_only_a_private_key_raises(
    authority: trustme.CA, tmp_path: Path
) -> None:
    authority.private_key_pem.write_to_path(tmp_path / "key.pem")

    with pytest.raises(InvalidCertificates, match="no certificate in PEM"):
        trust_only(tmp_path / "key.pem")


@pytest.mark.parametrize("path", ["", ".", "a\0b"])
def test_missing_certificate_file_raises_and_no_other_authority_is_used(path: str) -> None:
    with pytest.raises(InvalidCertificates) as caught:
        trust_only(path)

    assert "\0" not in str(caught.value)


# The command line


def test_command_trusts_the_authority_of_its_option(authority: trustme.CA, ca_file: Path) -> None:
    said: list[str] = []
    with server(authority.issue_cert("127.0.0.1")) as evil:
        arguments = ["--url", evil.url, "--beats=1"]
        trusting = main([*arguments, "--ca", str(ca_file)], environ={}, say=said.append)
        wary = main(arguments, environ={}, say=said.append)

    assert (0, 1) == (trusting, wary)
    assert "1 of 1 heartbeats accepted" == said[1]
    assert "is not trusted" in said[2]


def test_command_names_an_unusable_certificate_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--url=https://host", "--ca=/nowhere/ca.pem"], environ={})

    assert "'/nowhere/ca.pem' cannot be used" in capsys.readouterr().err


OK = answer("200 OK", b'{"heartbeat_count": 7}')


@contextmanager
def server(certificate: trustme.LeafCert) -> Iterator[Evil]:
    """A TLS server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with evil_server(say(OK), tls=context) as evil:
        yield evil


def client(evil: Evil, ca_file: Path | None) -> PhoneHomeClient:
    verify = None if ca_file is None else trust_only(ca_file)
    return PhoneHomeClient(evil.url, token="s3cret", verify=verify)


def refusal(certificate: trustme.LeafCert, ca_file: Path | None) -> str:
    """The text of the error for a receiver with this certificate."""
    with server(certificate) as evil:
        return refusal_by(evil, ca_file)


def refusal_by(evil: Evil, ca_file: Path | None) -> str:
    with client(evil, ca_file) as phone, pytest.raises(Untrusted) as caught:
        phone.heartbeat(BEAT)

    assert (1, []) == (evil.connections, evil.heard), "nothing is sent to a stranger"
    assert f"The certificate of the receiver at {evil.url} is not trusted: " in str(caught.value)
    return str(caught.value)
