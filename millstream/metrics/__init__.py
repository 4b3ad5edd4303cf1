"""What the programs say of themselves in numbers: the words (`vocabulary.py`), the values
(`store.py`), whether a program lives and is ready (`health.py`), and how answers become numbers
(`answers.py`).

Pure: consumers/metrics/server.py shows them, ops/prometheus/ judges them, ops/grafana/ draws them.
"""
