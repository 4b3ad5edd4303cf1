"""Kafka and ClickHouse in memory, as far as the exactly-once protocol depends on them.

    log.py       a partition's log: transactions, markers, what read_committed sees
    groups.py    a consumer group: members, generations, cooperative rebalances, offsets
    broker.py    Kafka: topics, groups, transactional ids and their epochs
    consumer.py  a client shaped like confluent_kafka.Consumer
    producer.py  a client shaped like confluent_kafka.Producer
    tables.py    ClickHouse: parts, and a deduplication log with its hole

They open no socket, start no thread and read no clock: time is an argument. tests/contract puts
them and the real parts through one exam. What that exam does not ask is not promised here.
"""
