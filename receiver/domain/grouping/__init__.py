"""Groups for pages: servers whose trouble began together, and events that happened together."""
