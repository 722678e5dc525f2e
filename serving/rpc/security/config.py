"""The options of security: encryption, callers, and the keys of state tokens."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from charloom.errors import require
from charloom.flags import Secret
from charloom.ranges import check_ranges


@dataclass(frozen=True)
class TlsConfig:
    """How connections are encrypted. A new connection gets what the files hold by then."""

    tls_certificate: Path | None = None
    """File of the server's certificate and those between it and its root (PEM): encrypts connections."""
    tls_key: Path | None = None
    """File of the certificate's private key (PEM, without a passphrase)."""
    tls_client_ca: Path | None = None
    """File of root certificates (PEM): only clients with a certificate from one of them may connect."""

    def __post_init__(self) -> None:
        pair = (self.tls_certificate is None) == (self.tls_key is None)
        require(pair, "tls_certificate and tls_key", "need each other")
        alone = self.tls_client_ca is not None and self.tls_certificate is None
        require(not alone, "tls_client_ca", "needs tls_certificate and tls_key")


@dataclass(frozen=True)
class CallersConfig:
    """Who may call."""

    tokens: Path | None = None
    """TOML file of callers and the hashes of their tokens; without it anybody who can connect may call."""


@dataclass(frozen=True)
class SealingConfig:
    """How state tokens are sealed."""

    state_keys: Path | None = None
    """File of the keys that seal state tokens: a line ID:BASE64 for each, of 32 bytes; the first one
    seals, all of them open. Servers with the same file open each other's tokens. Without it, and
    without such lines in the environment variable CHARLOOM_SERVE_STATE_KEY_LINES, the server makes a
    key that ends with it."""
    state_key_lines: Secret = field(default=None, repr=False)
    """What such a file holds."""
    state_lifetime: Annotated[float, Meta(ge=0, le=2**32)] = 86_400.0
    """Seconds for which a state token can be used; 0 sets no limit."""

    def __post_init__(self) -> None:
        check_ranges(self)
        both = self.state_keys is not None and self.state_key_lines is not None
        require(not both, "state_keys and state_key_lines", "exclude each other: leave one out")
