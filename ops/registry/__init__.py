"""The embedded schema registry: Confluent's REST API for Avro, in one small process and folder."""
