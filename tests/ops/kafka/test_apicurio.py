"""Apicurio's life: its schemas survive a kill, its process does not survive stop()."""

from __future__ import annotations

from pathlib import Path

from consumers.registry import Registry
from millstream.settings import RegistrySettings
from ops.kafka.apicurio import Apicurio
from tests.ops.test_process import gone


def test_schemas_survive_a_kill_and_stop_leaves_nothing(registry_jars: Path) -> None:
    """Killed and started again on the same URL, it knows the id; after stop() it is gone."""
    schema = '{"type":"record","name":"Event","fields":[{"name":"x","type":"int"}]}'
    with Apicurio() as server:
        url, pid = server.url, server.pid
        schema_id = Registry(RegistrySettings(url=url)).register("events-value", schema)
        server.kill()
        assert gone(pid)
        server.restart()
        assert server.url == url
        assert Registry(RegistrySettings(url=url)).schema(schema_id) == schema
        pid, data = server.pid, server.data
    assert gone(pid)
    assert not data.exists()
