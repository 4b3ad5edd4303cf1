"""Grafana's dashboards, made by code: `python -m ops.grafana` writes them; a test compares them,
checks every PromQL query against the vocabulary and runs every SQL query on ClickHouse.
"""
