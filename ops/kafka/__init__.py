"""Real Kafka, a real schema registry, and the embedded broker, started on this machine."""
