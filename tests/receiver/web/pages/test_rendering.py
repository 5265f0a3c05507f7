"""URLs in pages, and the style sheet of all pages."""

from zlib import crc32

from receiver.web.pages import rendering


def test_url_of_a_static_file_has_the_checksum_of_its_content() -> None:
    content = (rendering.FILES / "fleet.css").read_bytes()

    # Pages have taken it from the cache since the first of them was rendered.
    url = rendering._static_url.__wrapped__("fleet.css")  # noqa: SLF001 - see above

    assert f"static/fleet.css?v={crc32(content):08x}" == url


def test_blocks_of_the_style_sheet_are_closed_before_the_next_headline() -> None:
    """Or all that follows would only hold for the media of a block that was left open."""
    depth = 0
    for line in (rendering.FILES / "fleet.css").read_text().splitlines():
        assert not (line.startswith("/*") and depth), line
        depth += line.count("{") - line.count("}")
    assert 0 == depth
