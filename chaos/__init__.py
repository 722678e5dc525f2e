"""Chaos and soak tests: servers, connections and requests are broken on purpose."""
