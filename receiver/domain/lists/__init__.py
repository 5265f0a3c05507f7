"""What lists of servers are filtered and counted by."""
