"""Damaged records through the compiled decoder and the row reader: the same verdicts and values.

`python -m ops.fuzz` does ten million; the tests do a few thousand.
"""
