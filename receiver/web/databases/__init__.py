"""What administrators do with databases: labels and notes."""

from receiver.web.databases.labels import routes

__all__ = ["routes"]
