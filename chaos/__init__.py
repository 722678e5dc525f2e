"""What is broken on purpose: servers, connections and requests, and what texts and memory make of it."""
