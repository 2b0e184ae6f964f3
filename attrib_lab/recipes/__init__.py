"""Recipes: their keys, how they are read and checked, and what --help says of them."""
