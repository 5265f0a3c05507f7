"""The tools that the servers of a fleet offer and the versions that they run; no I/O."""
