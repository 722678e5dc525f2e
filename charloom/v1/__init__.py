"""Stubs generated from proto/charloom/v1 by `make proto`."""
