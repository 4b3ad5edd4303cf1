"""Real servers on loopback: S3 (moto's) and MLflow's own; and what their clients must be told."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ops.process import Child, free_ports, listening

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@contextmanager
def s3_server() -> Iterator[int]:
    """The port on 127.0.0.1 of a new S3 server."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()[1]
    finally:
        server.stop()


def client_of(port: int) -> dict[str, str]:
    """The environment of a client of that server."""
    return {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}


def s3(port: int) -> Any:
    """A client of that server that is not ours: boto3's."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )


def new_bucket(port: int) -> str:
    """The name of a new bucket."""
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    s3(port).create_bucket(Bucket=name)
    return name


@contextmanager
def mlflow_server(folder: Path, database: Path) -> Iterator[str]:
    """The URL of `mlflow server` on that SQLite file, in a process group of its own."""
    (port,) = free_ports(1)
    argv = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{database}"),
        *("--default-artifact-root", str(folder / "artifacts")),
    ]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    child = Child("MLflow's server", argv, log=folder / "mlflow.log", env=quiet)
    try:
        child.wait_until(lambda: listening(port), timeout_s=120)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # what serves is a child of what was started
        child.kill()
