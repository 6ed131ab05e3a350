"""Finalizations, which admin carries out."""
