"""What other teams need to know of a stream, made from stream.toml and schemas/.

`folder.contract_files` is the whole of it: an AsyncAPI document, Avro and JSON Schemas, and a
producer's test kit, whose verdicts are those of the scorer's own decoder (`checker.py`).
"""
