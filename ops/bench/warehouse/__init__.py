"""How quickly the views and the cookbook answer over a hundred million rows, and what a row costs.

generate.py   rows made inside ClickHouse, whole numbers of them, the same each time
measure.py    seconds of each question, bytes of each table, what projections cost an insert
results.py    a run as Markdown and JSON, with the year at 1,000 events a second that follows
"""
