"""Who is told: an HTTP server, a mail server and an Alertmanager, all real and on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message as Email
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

WAIT_S_MAX = 60.0


def wait_for(ready: Callable[[], Any], what: str) -> Any:
    """What `ready` gives, once it is true."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not (found := ready()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)
    return found


class Http:
    """An HTTP server that keeps what it is sent.

    statuses: the next answers, 200 when there are none left. location: sent with each answer.
    drip: it sends its answer byte by byte and never ends.
    """

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.location: str | None = None
        self.drip = threading.Event()
        receiver = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                if receiver.drip.is_set():
                    self._drip()
                    return
                receiver.got.append((self.path, headers, body))
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                self.send_response(status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                said = f"hello {self.path}\n".encode()
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def _drip(self) -> None:
                try:
                    while receiver.drip.is_set():
                        self.wfile.write(b"H")
                        time.sleep(0.02)
                except OSError:
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def secure(self, certificate: Path) -> None:
        """Speak TLS from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.port}"

    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.got]

    def close(self) -> None:
        self.drip.clear()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(Controller):
    """aiosmtpd's, with a port of the system's choice."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


class Post:
    """A mail server that keeps what it is sent. replies: its next answers to a mail."""

    def __init__(
        self, certificate: Path | None = None, user: str | None = None, password: str = ""
    ) -> None:
        self.got: list[Email] = []
        self.replies: list[str] = []
        self.secure: list[bool] = []
        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)

        def known(_: object, __: object, ___: object, method: str, data: Any) -> AuthResult:
            good = isinstance(data, LoginPassword) and (
                data.login.decode(),
                data.password.decode(),
            ) == (user, password)
            return AuthResult(success=good, handled=False)

        self._controller = _Server(
            self,
            hostname="127.0.0.1",
            port=0,
            tls_context=context,
            require_starttls=context is not None,
            authenticator=known if user else None,
            auth_required=user is not None,
            auth_require_tls=context is not None,
        )
        self._controller.start()
        self.port = self._controller.port

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Envelope) -> str:
        if self.replies:
            return self.replies.pop(0)
        assert isinstance(envelope.content, bytes)
        self.got.append(message_from_bytes(envelope.content))
        self.secure.append(session.ssl is not None)
        return "250 taken"

    def close(self) -> None:
        if self._controller.loop.is_running():
            self._controller.stop()


def make_certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1, signed by itself, with its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "certificate.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def alertmanager_program() -> str:
    """Its path. Skips where there is none, fails in CI."""
    for name in ("prometheus-alertmanager", "alertmanager"):
        if found := shutil.which(name):
            return found
    reason = "needs Alertmanager (Debian package: prometheus-alertmanager)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextmanager
def alertmanager(folder: Path, tells: str) -> Iterator[str]:
    """A running Alertmanager that tells a webhook at once; its URL."""
    config = folder / "alertmanager.yml"
    config.write_text(
        "route: {receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s, "
        "repeat_interval: 1h}\n"
        f"receivers: [{{name: hook, webhook_configs: [{{url: '{tells}', send_resolved: true}}]}}]\n"
    )
    log = folder / "alertmanager.log"
    argv = [
        alertmanager_program(),
        f"--config.file={config}",
        f"--storage.path={folder / 'alertmanager'}",
        "--web.listen-address=127.0.0.1:0",
        "--cluster.listen-address=",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT)
    try:
        pattern = r'"Listening on" address=127\.0\.0\.1:(\d+)'

        def listening() -> re.Match[str] | None:
            assert process.poll() is None, log.read_text()
            return re.search(pattern, log.read_text())

        yield f"http://127.0.0.1:{wait_for(listening, 'Alertmanager')[1]}"
    finally:
        process.kill()
        process.wait()
