"""Exposure: who can reach an address, and what the server must have before it listens there."""

from ipaddress import ip_address

from charloom.errors import CharloomError

UNIX = ("unix:", "unix-abstract:")


class ExposureError(CharloomError):
    """Anybody could listen in or call."""

    exit_code = 2

    def __init__(self, host: str, missing: list[str]) -> None:
        super().__init__(
            f"other machines can reach {host}, and this server {' and '.join(missing)}; "
            "on a network that you trust, --insecure-public serves there all the same"
        )


def check_exposure(host: str, *, encrypts: bool, knows_callers: bool) -> None:
    """Raises ExposureError for an address that others can reach unless the server is fit for it."""
    missing = []
    if not encrypts:
        missing.append("does not encrypt (see --tls-certificate and --tls-key)")
    if not knows_callers:
        missing.append("lets anybody call (see --tokens and --tls-client-ca)")
    if missing and is_public(host):
        raise ExposureError(host, missing)


def is_public(host: str) -> bool:
    """Whether more than this machine can reach it, as far as its name says."""
    if is_unix(host) or host == "localhost":
        return False
    try:
        return not ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return True


def is_unix(host: str) -> bool:
    """Whether it is a socket in the file system."""
    return host.startswith(UNIX)
