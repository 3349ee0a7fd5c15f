"""The TLS modes of the database's URL, against a server that terminates TLS.

The embedded PostgreSQL is built without TLS, so a relay speaks it in front of the server.
"""

import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from fractal_helpers.sql import create_engine, fractal_sql_commit
from fractal_models.errors import Unavailable

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
"""The first message of a client that wants TLS (PostgreSQL: Message Formats, SSLRequest)."""


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key, as one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "db")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(pem))
    return file


class Terminator:
    """Answers SSLRequest, speaks TLS, and relays to the server's Unix socket."""

    def __init__(self, upstream: str, pem: Path) -> None:
        self.encrypted = 0
        self._upstream = upstream
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), closing(client):
            first = client.recv(8, socket.MSG_WAITALL)
            if first != SSL_REQUEST:
                return  # this server speaks TLS only
            client.sendall(b"S")
            with self._context.wrap_socket(client, server_side=True) as secure:
                self.encrypted += 1
                self._relay(secure)

    def _relay(self, client: ssl.SSLSocket) -> None:
        """In one thread: two may not use the same TLS connection."""
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self._upstream)
            while True:
                both = (client, server)
                for source in (client,) if client.pending() else select.select(both, (), ())[0]:
                    if not (data := source.recv(65536)):
                        return
                    (server if source is client else client).sendall(data)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return certificate(tmp_path)


@pytest.fixture
def terminator(engine: Engine, pem: Path) -> Iterator[Terminator]:
    folder = engine.url.query["host"]
    made = Terminator(f"{folder}/.s.PGSQL.5432", pem)
    yield made
    made.close()


def ask(url: str) -> int:
    engine = create_engine(url)
    try:
        return fractal_sql_commit(engine, _one)
    finally:
        engine.dispose()


def _one(session: Session) -> int:
    return int(session.execute(text("SELECT 1")).scalar_one())


def url(engine: Engine, port: int, **query: str) -> str:
    parsed = engine.url.set(host="127.0.0.1", port=port, password="hunter22", query=query)
    return parsed.render_as_string(hide_password=False)


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_server_whose_certificate_is_known_is_asked_over_tls(
    engine: Engine, terminator: Terminator, pem: Path, mode: str
) -> None:
    assert ask(url(engine, terminator.port, sslmode=mode, sslrootcert=str(pem))) == 1
    assert terminator.encrypted >= 1


def test_an_unknown_certificate_is_refused_in_words_without_the_password(
    engine: Engine, terminator: Terminator, tmp_path: Path
) -> None:
    (tmp_path / "another").mkdir()
    another = certificate(tmp_path / "another")
    wanted = url(engine, terminator.port, sslmode="verify-full", sslrootcert=str(another))
    with pytest.raises(Unavailable, match="certificate verify failed") as refused:
        ask(wanted)
    assert "hunter22" not in str(refused.value)


def test_another_host_than_the_certificates_is_refused(
    engine: Engine, terminator: Terminator, pem: Path
) -> None:
    wanted = url(engine, terminator.port, sslmode="verify-full", sslrootcert=str(pem))
    with pytest.raises(Unavailable, match="does not match host name"):
        ask(wanted.replace("127.0.0.1", "localhost"))
    assert ask(wanted.replace("127.0.0.1", "localhost").replace("verify-full", "verify-ca")) == 1


def test_a_server_without_tls_is_refused_where_tls_is_required(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    client.recv(8)
                    client.sendall(b"N")
                    client.close()

        threading.Thread(target=refuse, daemon=True).start()
        with pytest.raises(Unavailable, match="does not support SSL"):
            ask(url(engine, listener.getsockname()[1], sslmode="require"))
