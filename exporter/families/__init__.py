"""Families of encoders, one file an architecture."""
