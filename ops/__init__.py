"""How Millstream is run: the demo, Kafka for tests, the embedded warehouse and registry."""
