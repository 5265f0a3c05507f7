"""What the receiver tells Prometheus about itself."""
