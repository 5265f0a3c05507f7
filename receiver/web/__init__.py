"""HTTP in, HTTP out: routes, requests, answers."""
