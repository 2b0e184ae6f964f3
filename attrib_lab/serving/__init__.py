"""Serving: a model that answers over HTTP, whoever asks, many of them at once."""
