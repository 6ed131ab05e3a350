"""Who calls and what they may: callers, roles, tokens, the server's own token."""
