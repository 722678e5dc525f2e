"""Every published figure, each reproducible by one command."""
