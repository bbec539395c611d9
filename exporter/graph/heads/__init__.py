"""Heads: what a signature makes of an encoder's outputs, one file a head."""
