"""How Sphinx makes a site of the pages in this folder: `nox -s docs`."""

project = "Odoo MCP Fleet"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["images"]
nitpicky = True
suppress_warnings = ["misc.highlighting_failure"]
"""Some examples are shortened by `…`, or in a language that has no colours."""

myst_heading_anchors = 4
"""Each heading down to this level can be linked to, by the same anchor as on GitHub."""

# The theme has no fonts, scripts or pictures that a browser would ask of another host.
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_use_index = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
