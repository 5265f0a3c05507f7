"""What the fleet offers and runs: tools, versions, and how two servers differ; no I/O."""
