"""ops/warehouse/serve.py and __main__.py: starting, stopping, being killed."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from millstream.errors import OperatorNeeded
from ops.warehouse.__main__ import PASSWORD_VARIABLE
from ops.warehouse.serve import serve
from tests.ops.warehouse.conftest import Served

CREATE = "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n"


def _run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ops.warehouse", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | variables, timeout=60
    )


def test_acknowledged_rows_survive_kill_9(own: Served) -> None:
    """Every INSERT that was answered with 200 is there after kill -9 and a new start."""
    own.start().read(CREATE)
    acknowledged: list[int] = []

    def insert(worker: int) -> None:
        with httpx.Client() as http:
            for n in range(worker, 1_000_000, 4):
                try:
                    answer = http.post(own.url, content=f"INSERT INTO t VALUES ({n})")
                except httpx.TransportError:
                    return
                assert answer.status_code == 200, answer.text
                acknowledged.append(n)
                if len(acknowledged) == 60:
                    own.kill()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(insert, range(4)))
    own.start()
    rows = [int(n) for n in own.read("SELECT n FROM t").split()]
    assert len(rows) == len(set(rows))
    assert set(acknowledged) <= set(rows)


def test_a_stop_lets_an_insert_finish_and_ends_queries(own: Served) -> None:
    """SIGTERM: the running INSERT is answered, the running SELECT is cancelled, the code is 0."""
    own.start().read(CREATE)
    insert = "INSERT INTO t SELECT sleepEachRow(0.02) + number FROM numbers(50)"
    select = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(own.ask, insert, max_block_size="1", query_id="writing")
        reading = pool.submit(own.ask, select, query_id="reading")
        both = "SELECT count() FROM system.processes WHERE Settings['log_comment'] LIKE '%ing'"
        while own.read(both) != "2":
            assert not writing.done()
        assert own.stop() == 0
        assert writing.result().status_code == 200
        assert reading.result().headers["X-ClickHouse-Exception-Code"] == "394"
    assert not own.ready_file.exists()
    assert own.start().read("SELECT count() FROM t") == "50"


def test_a_second_process_on_the_path_is_refused(own: Served, tmp_path: Path) -> None:
    """One line names the path and the process and says what to do; the first goes on."""
    own.start().read(CREATE)
    assert own.process is not None
    second = _run("--path", str(own.path), "--port", "0")
    assert second.returncode == 2
    assert f"is already open in another process (process {own.process.pid})" in second.stderr
    assert "one process per path" in second.stderr
    assert "Traceback" not in second.stderr
    own.read("INSERT INTO t VALUES (1)")
    assert own.read("SELECT count() FROM t") == "1"


def test_the_rest_of_the_world_needs_a_password(tmp_path: Path) -> None:
    """Listening anywhere but on loopback without one is refused, before anything is opened."""
    with pytest.raises(OperatorNeeded, match="without a password"):
        serve(tmp_path / "db", host="0.0.0.0", port=0)
    with pytest.raises(OperatorNeeded, match="password is empty"):
        serve(tmp_path / "db", port=0, password=SecretStr(""))
    assert not (tmp_path / "db").exists()


def test_a_password_is_asked_for(own: Served) -> None:
    """With a password set, it is needed, and any Host may be named."""
    own.environment = os.environ | {PASSWORD_VARIABLE: "s3cret"}
    own.start()
    assert httpx.get(own.url + "ping", headers={"Host": "db.example"}).status_code == 200
    without = own.ask("SELECT 1")
    assert (without.status_code, without.headers["X-ClickHouse-Exception-Code"]) == (401, "194")
    assert httpx.post(own.url, content="SELECT 1", auth=("default", "wrong")).status_code == 403
    right = httpx.post(own.url, content="SELECT 1", auth=("default", "s3cret"))
    assert right.text == "1\n"
    assert own.ask("SELECT 1", user="default", password="s3cret").text == "1\n"


@pytest.mark.parametrize("place", ["taken", "file", "odd?name"])
def test_a_bad_start_is_one_line_with_a_remedy(tmp_path: Path, own: Served, place: str) -> None:
    """A taken port, a path that is a file, a path that the engine would cut: exit code 2."""
    arguments = ["--path", str(tmp_path / place), "--port", "0"]
    if place == "taken":
        arguments[3] = str(own.start().port)
    elif place == "file":
        (tmp_path / place).write_text("")
    refused = _run(*arguments)
    assert refused.returncode == 2
    assert "Choose a" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_tables_made_by_a_plain_chdb_are_there_and_stay(own: Served) -> None:
    """A path may go back and forth between this server and chDB in a program: same tables."""
    script = "import sys; from chdb import _chdb; _chdb.connect(sys.argv[1]).query(sys.argv[2])"

    def plain(statement: str) -> None:
        command = [sys.executable, "-c", script, str(own.path), statement]
        subprocess.run(command, check=True, timeout=60)

    plain(CREATE)
    plain("INSERT INTO t VALUES (1)")
    own.start().read("INSERT INTO t VALUES (2)")
    own.read("CREATE TABLE u (n UInt8) ENGINE = MergeTree ORDER BY n")
    assert own.stop() == 0
    plain("INSERT INTO u SELECT sum(n) FROM t")
    assert own.start().read("SELECT n FROM u") == "3"


def test_help_shows_an_example() -> None:
    """--help says what is read, written and needed, with a line to copy."""
    shown = _run("--help")
    assert shown.returncode == 0
    assert "python -m ops.warehouse --path" in shown.stdout
