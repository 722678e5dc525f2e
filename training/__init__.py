"""Trains networks: from a text to a checkpoint. Needs torch."""
