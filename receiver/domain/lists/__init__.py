"""By what lists of servers are filtered, counted and searched; and filters that people saved."""
