"""Cheaper variants of a model: narrower numbers, students; each measured, behind a gate."""
