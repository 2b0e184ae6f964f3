"""Texts explained in a terminal."""
