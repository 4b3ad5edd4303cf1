"""Drift detection on streams whose changes are known: Millstream beside River's detectors."""
