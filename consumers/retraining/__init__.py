"""`millstream retrain`: the stages of a retraining on Kafka, ClickHouse and the model registry."""
