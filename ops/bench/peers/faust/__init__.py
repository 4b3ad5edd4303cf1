"""Faust, in an environment of its own (requirements.lock): with cramjam, which reads lz4."""
