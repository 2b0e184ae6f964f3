"""Rows of text and label: from files, the Hub or the embedded newswire."""
