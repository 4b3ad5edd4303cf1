"""What analysts ask ClickHouse through."""
