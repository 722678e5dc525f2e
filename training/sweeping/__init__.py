"""Sweeps: the same training again and again with other options, in search of the lowest loss."""
