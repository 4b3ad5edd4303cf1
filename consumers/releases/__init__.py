"""Which model answers which record: the log of releases, loading, switching, probation."""
