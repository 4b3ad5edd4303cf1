"""`make soak`: load, kills, broker restarts and network faults for minutes, then the audit."""
