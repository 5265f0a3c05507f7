"""The rows of API keys, and of the sessions of browsers that have signed in."""
