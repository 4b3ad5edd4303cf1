"""Faust apps: the join of outcomes and the drift watch, at least once."""
