"""Groups what belongs together: servers with the same problem, and events that are one line."""
