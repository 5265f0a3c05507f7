"""What the fleet offers and runs, as JSON; the pages about it read it in the same way."""
