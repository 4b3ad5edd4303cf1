"""What lands in ClickHouse: the tables, and the rule that puts each row there once. No sockets."""
