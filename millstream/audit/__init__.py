"""The audit: one answer for every event, one row for every record, and how that is known.

It judges scorer and sink from outside: it knows the contracts (schemas/, stream.toml) and shares no
code with either. Nothing here opens a socket; consumers/verify*.py bring the offsets.
"""
