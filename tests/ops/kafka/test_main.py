"""``python -m ops.kafka``, which is what ``make kafka`` runs."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from ops.process import listening
from tests.ops.test_process import until


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_tells_its_address_and_ends_with_0_when_asked(
    kafka_jars: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """The ready file and standard output hold the address; Ctrl-C and SIGTERM stop it."""
    ready = tmp_path / "ready"
    argv = [sys.executable, "-m", "ops.kafka", "--port", "0", "--ready-file", str(ready)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            bootstrap = program.stdout.readline().strip()
            assert until(ready.exists)
            assert ready.read_text() == f"{bootstrap}\n"
            admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
            assert len(admin.list_topics(timeout=30).brokers) == 1
            program.send_signal(number)
            assert program.wait(60) == 0
        finally:
            program.kill()
    assert not listening(int(bootstrap.rpartition(":")[2]))


def test_a_taken_port_is_one_line_and_exit_code_2(kafka_jars: Path) -> None:
    """No traceback."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        argv = [sys.executable, "-m", "ops.kafka", "--port", port]
        run = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert f"port {port} is taken" in run.stderr
