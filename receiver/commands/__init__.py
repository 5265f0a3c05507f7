"""The parts of the command line `python -m receiver`."""
