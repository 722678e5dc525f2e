"""The server's side of TLS: its certificate, and whose clients it lets connect.

`callers.py` says who calls over a connection.
"""

import ssl
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from charloom.errors import ConfigError
from serving.rpc.security.config import TlsConfig
from serving.rpc.security.reloaded import Reloaded


def server_credentials(config: TlsConfig) -> grpc.ServerCredentials | None:
    """What encrypts connections; None where nothing does.

    Raises:
        ConfigError: a file cannot be used.
    """
    if config.tls_certificate is None or config.tls_key is None:
        return None
    certificate, key, client_ca = config.tls_certificate, config.tls_key, config.tls_client_ca
    files = [certificate, key] if client_ca is None else [certificate, key, client_ca]
    held = Reloaded(files, partial(read, certificate, key, client_ca))

    def newer() -> Any:
        # gRPC asks before each handshake, in threads of its own; None keeps what it has.
        return held.value if held.refresh() else None

    return grpc.dynamic_ssl_server_credentials(held.value, newer, client_ca is not None)


def read(certificate: Path, key: Path, client_ca: Path | None) -> grpc.ServerCertificateConfiguration:
    """The files as gRPC takes them.

    Raises:
        ConfigError: one cannot be read, or is not what it should be.
    """
    chain = read_certificates(certificate, "tls_certificate")
    private = read_bytes(key, "tls_key")
    try:
        # The empty passphrase keeps OpenSSL from asking for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError("tls_key", f"{key} does not belong to the certificate {certificate}") from error
        raise ConfigError("tls_key", f"{key} is no private key in PEM without a passphrase") from error
    except OSError as error:  # they were there a moment ago; OpenSSL does not say which is gone
        reason = f"{certificate} or {key} cannot be read: {error.strerror}"
        raise ConfigError("tls_certificate or tls_key", reason) from error
    roots = None if client_ca is None else read_certificates(client_ca, "tls_client_ca")
    return grpc.ssl_server_certificate_configuration([(private, chain)], roots)


def read_certificates(path: Path, name: str) -> bytes:
    """The certificates in a file; raises ConfigError, which calls it by the name of its setting."""
    raw = read_bytes(path, name)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=raw.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(name, f"{path} holds no certificate in PEM") from error
    return raw


def read_bytes(path: Path, name: str) -> bytes:
    """What a file holds; raises ConfigError, which calls it by the name of its setting."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(name, f"{path} cannot be read: {error.strerror}") from error
