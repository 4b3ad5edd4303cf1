"""Releases: which models answer which events, from which offset on. Nothing here knows Kafka."""
