"""What a receiver does, apart from HTTP: ingest, group commit, watchdog, feed, availability."""
