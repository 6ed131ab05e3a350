"""Service accounts: who may log in, as what, and with which secret."""
