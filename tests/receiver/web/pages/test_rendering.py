"""URLs in pages."""

from zlib import crc32

from receiver.web.pages import rendering


def test_url_of_a_static_file_has_the_checksum_of_its_content() -> None:
    content = (rendering.FILES / "fleet.css").read_bytes()

    # Pages have taken it from the cache since the first of them was rendered.
    url = rendering._static_url.__wrapped__("fleet.css")  # noqa: SLF001 - see above

    assert f"static/fleet.css?v={crc32(content):08x}" == url
