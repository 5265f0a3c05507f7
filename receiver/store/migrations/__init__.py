"""The history of the tables. Each start brings the database up to the newest."""
