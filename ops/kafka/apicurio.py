"""A real schema registry on this machine: Apicurio, which speaks Confluent's REST API."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import ClassVar

from ops.kafka.fetch import REGISTRY_JAR, fetch_registry, java
from ops.kafka.service import Service
from ops.process import Child

START_TIMEOUT_S = 120.0
_API = "/apis/ccompat/v7"


class Apicurio(Service):
    """One Apicurio Registry 2.6 over an H2 file, its global compatibility set to BACKWARD.

    (Its own default is NONE; Confluent's, and the embedded registry's, is BACKWARD.)
    data, port: as Service; the schemas survive kill() and restart().
    """

    name: ClassVar[str] = "Apicurio"

    def __init__(self, data: Path | None = None, *, port: int = 0, heap_mb: int = 256) -> None:
        super().__init__(data, port)
        self._heap_mb = heap_mb

    @property
    def url(self) -> str:
        """What clients take: ``http://127.0.0.1:PORT/apis/ccompat/v7``."""
        return f"http://127.0.0.1:{self.port}{_API}"

    def _launch(self) -> Child:
        argv = [
            java(), f"-Xmx{self._heap_mb}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-jar", str(fetch_registry() / REGISTRY_JAR),
        ]  # fmt: skip
        settings = {
            "QUARKUS_HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": str(self._port),
            "REGISTRY_DATASOURCE_URL": f"jdbc:h2:file:{self.data / 'registry'};WRITE_DELAY=0",
            "LOG_LEVEL": "WARN",
            "REGISTRY_LOG_LEVEL": "WARN",
        }
        child = Child(self.name, argv, log=self.data / "console.log", env=settings)
        child.wait_until(self._answers, timeout_s=START_TIMEOUT_S)
        return child

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5.0)
        try:
            body = json.dumps({"compatibility": "BACKWARD"})
            kind = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
            connection.request("PUT", f"{_API}/config", body, kind)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
