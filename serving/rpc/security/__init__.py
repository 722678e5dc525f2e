"""Who may call, over which connections, and what a client may keep sealed."""
