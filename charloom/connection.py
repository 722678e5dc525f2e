"""A client's connection to a server: its encryption, and the token it shows.

gRPC is imported only when there is something to encrypt, so that `--help` is quick.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from charloom.errors import ConfigError, require
from charloom.flags import Secret

if TYPE_CHECKING:
    import grpc


@dataclass(frozen=True)
class Tls:
    """Encryption, and whom to trust: files in PEM."""

    root: str | Path | None = None
    """Certificates of which one must vouch for the server's; those that gRPC brings if absent."""
    certificate: str | Path | None = None
    """The client's own, for a server that asks for one (mutual TLS)."""
    key: str | Path | None = None
    """The private key of that certificate."""

    def __post_init__(self) -> None:
        pair = (self.certificate is None) == (self.key is None)
        require(pair, "tls_certificate and tls_key", "need each other")

    def credentials(self) -> "grpc.ChannelCredentials":
        """What gRPC encrypts with; raises ConfigError for a file that cannot be read."""
        import grpc

        return grpc.ssl_channel_credentials(
            read("tls_root", self.root), read("tls_key", self.key), read("tls_certificate", self.certificate)
        )


@dataclass(frozen=True)
class Connection:
    """The same as options of a command."""

    tls: bool = False
    """Encrypt the connection to the server; each of the other TLS options does so too."""
    tls_root: Path | None = None
    """File of root certificates (PEM) that may vouch for the server, instead of those that gRPC brings."""
    tls_certificate: Path | None = None
    """File of your own certificate (PEM), for a server that asks for one."""
    tls_key: Path | None = None
    """File of that certificate's private key (PEM)."""
    token_file: Path | None = None
    """File of the token that the server asks for; the environment variable CHARLOOM_TOKEN can hold it too."""
    token: Secret = field(default=None, repr=False)
    """The token itself."""

    @property
    def encryption(self) -> Tls | None:
        """What is to encrypt it."""
        files = (self.tls_root, self.tls_certificate, self.tls_key)
        return Tls(*files) if self.tls or any(files) else None

    @property
    def bearer(self) -> str | None:
        """The token to show; raises ConfigError for a file that cannot be read."""
        if self.token_file is None:
            return self.token or None
        raw = read("token_file", self.token_file) or b""
        return raw.decode("utf-8", "replace").strip()


def read(name: str, path: str | Path | None) -> bytes | None:
    """What a file holds; raises ConfigError, which calls it by the name of its setting."""
    try:
        return None if path is None else Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(name, f"{path} cannot be read: {error.strerror}") from error
