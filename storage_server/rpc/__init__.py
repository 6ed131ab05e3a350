"""Servicers: each handler turns a message into a call of plain Python and back."""
