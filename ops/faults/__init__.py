"""Faults on purpose: a TCP proxy that fails as told, and a Millstream behind three of them."""
