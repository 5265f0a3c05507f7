"""How answers travel: compressed, and as updates, which hold only what has changed of a page."""
