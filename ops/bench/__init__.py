"""Millstream and its peers on one broker and the same data, in one run: `python -m ops.bench`.

Its peers run in environments of their own and import `ops.bench.peers`: nothing is imported here.
"""
