"""The work of a receiver, apart from HTTP: writing messages, finding silent servers, reading."""
