"""Alert rules for Prometheus, made by code: `python -m ops.prometheus` writes alerts.yml,
prometheus.yml and the tables of docs/METRICS.md; a test compares them.
"""
