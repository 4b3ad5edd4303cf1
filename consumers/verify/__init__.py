"""`millstream verify`: the audit of a stream, from Kafka's logs and ClickHouse's rows."""
