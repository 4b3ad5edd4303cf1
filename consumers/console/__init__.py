"""The console: a stream in the browser, read from ClickHouse and Kafka, never written."""
