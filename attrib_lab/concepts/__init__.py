"""Concept vectors: how much a classifier's decisions move with a concept that example sentences describe."""
