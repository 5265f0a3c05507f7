"""The SQL store: everything that touches the database is in here."""
