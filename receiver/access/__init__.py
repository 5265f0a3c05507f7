"""Who may do what: API keys in memory, the check of each request, and browser sessions."""
