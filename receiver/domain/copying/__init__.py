"""What is told of a whole database: how it is, and what came of copying it."""
