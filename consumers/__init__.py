"""Programs on confluent-kafka: the scorer, the sink, and the one poll loop they share."""
