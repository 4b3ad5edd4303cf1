"""The embedded registry as a process: ready file, kill -9, damage, taken ports."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from consumers.registry import Registry
from millstream.errors import DependencyUnavailable
from millstream.settings import RegistrySettings
from ops.registry.process import EmbeddedRegistry
from tests.ops.test_process import gone, until

SCHEMA = '{"type":"record","name":"E","fields":[{"name":"x","type":"int"}]}'


def command(*options: str) -> list[str]:
    """The program's command line."""
    return [sys.executable, "-m", "ops.registry", *options]


def test_an_id_that_was_answered_survives_kill_9(tmp_path: Path) -> None:
    """Killed right after its answer and started again on the same URL, it knows the schema."""
    with EmbeddedRegistry(tmp_path) as server:
        url = server.url
        ids = [
            Registry(RegistrySettings(url=url)).register(f"{name}-value", text)
            for name, text in (("a", SCHEMA), ("b", '"int"'), ("c", SCHEMA))
        ]
        assert ids == [1, 2, 1]
        pid = server.pid
        server.kill()
        assert gone(pid)
        server.restart()
        assert server.url == url
        client = Registry(RegistrySettings(url=url))
        assert (client.schema(1), client.schema(2)) == (SCHEMA, '"int"')
        assert client.register("d-value", '"string"') == 3


def test_a_damaged_file_stops_the_start_with_its_name_and_the_remedy(tmp_path: Path) -> None:
    """The process ends with code 2 and one line; who started it sees that line."""
    (tmp_path / "registry.jsonl").write_bytes(b"rubbish\n")
    run = subprocess.run(
        command("--path", str(tmp_path)), capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert f"{tmp_path / 'registry.jsonl'} is damaged in line 1" in run.stderr
    assert "Restore the file" in run.stderr
    with pytest.raises(DependencyUnavailable, match="is damaged in line 1"):
        EmbeddedRegistry(tmp_path).start()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_program_writes_its_url_and_ends_with_0_when_asked(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Port 0 finds a port; the ready file has a URL that answers."""
    ready = tmp_path / "ready"
    with subprocess.Popen(
        command("--path", str(tmp_path / "data"), "--port", "0", "--ready-file", str(ready))
    ) as program:
        try:
            assert until(ready.exists)
            url = ready.read_text().strip()
            assert url.startswith("http://127.0.0.1:")
            assert Registry(RegistrySettings(url=url)).latest("none-value") is None
            program.send_signal(number)
            assert program.wait(60) == 0
        finally:
            program.kill()


def test_a_taken_port_and_a_port_that_is_none_are_one_line_and_exit_code_2(
    tmp_path: Path,
) -> None:
    """No traceback, no other port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        for port in (str(other.getsockname()[1]), "70000"):
            run = subprocess.run(
                command("--path", str(tmp_path), "--port", port),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert run.returncode == 2
            assert run.stderr.count("\n") == 1
            assert port in run.stderr
