"""Millstream's engine: pure and typed. Nothing in it opens a socket or reads a clock of its own."""

__version__ = "0.1.0"
