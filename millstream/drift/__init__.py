"""Drift: profiles of inputs, and the monitor of errors, confidence and scores."""
