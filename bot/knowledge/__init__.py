"""Runbooks and past incidents: the corpus, its index and search."""
