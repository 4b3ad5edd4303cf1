"""Functions that ClickHouse calls: `millstream_score('loans', (...))` in a query.

    config.py     what a ClickHouse server must be told, and the scripts that it starts
    wire.py       the rows on a script's standard input and the answers on its output
    features.py   a row's text to columns of the event schema
    answers.py    what was scored, as the bytes of a function's result

consumers/sql/scoring.py puts them together with a model. Pure: files and models are others' work.
"""
