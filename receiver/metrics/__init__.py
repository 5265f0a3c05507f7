"""The receiver's metrics about itself, for Prometheus."""
