"""Models out of labelled rows: families, search, calibration, comparison, export."""
