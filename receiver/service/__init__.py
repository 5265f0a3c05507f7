"""What a receiver does, whoever asks: ingest, group commit, watchdog, feed, availability."""
