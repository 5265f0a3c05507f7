"""Values and rules of the receiver: no I/O, no SQL, no HTTP."""
