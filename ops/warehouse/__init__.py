"""The embedded ClickHouse (chDB) served over HTTP to any ClickHouse HTTP client.

    serve.py      one process, one path: sockets, signals, the ready file
    app.py        HTTP: who may ask, the body into a spool, the answer out of a pipe
    stream.py     one SELECT's bytes from the engine to the client, with back pressure
    engine.py     chDB: one connection per request, so that nothing leaks between them
    access.py     what a client may do: the engine's grants
    protocol.py   what a request asks for (pure)
    sql.py        just enough SQL to find FORMAT, VALUES and what is refused (pure)
    encoding.py   compressed bodies, bounded and checked to the last byte (pure)
    errors.py     ClickHouse's error codes and their HTTP statuses (pure)

Not supported, and refused with ClickHouse's own error shape: sessions (``session_id`` is accepted,
but SET, USE and temporary tables are refused with it, as nothing is kept between requests),
ClickHouse's native block compression (``compress=1``, ``decompress=1``), external tables in
multipart bodies, INSERT ... SELECT ... FROM input() with data, users and roles, several statements
in one request, and whatever reads or writes outside of the database (files, URLs, other servers).
"""
