from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from charloom.errors import ConfigError
from serving.rpc.security import tls
from serving.rpc.security.config import TlsConfig
from serving.rpc.security.reloaded import Reloaded
from serving.rpc.security.tls import server_credentials


def test_without_files_nothing_is_encrypted():
    assert server_credentials(TlsConfig()) is None


def test_a_pair_and_an_authority_make_credentials(authority):
    pair = authority.issue("server")
    assert server_credentials(TlsConfig(*pair)) is not None
    assert server_credentials(TlsConfig(*pair, authority.root)) is not None


def test_half_a_pair_is_refused(authority):
    certificate, key = authority.issue("server")
    for half in ((certificate, None), (None, key)):
        with pytest.raises(ConfigError, match="tls_certificate and tls_key need each other"):
            TlsConfig(*half)
    with pytest.raises(ConfigError, match="tls_client_ca needs tls_certificate and tls_key"):
        TlsConfig(tls_client_ca=authority.root)


@pytest.mark.parametrize("gone", [0, 1])
def test_a_file_that_goes_while_it_is_read_leaves_the_old_pair_in_use(authority, monkeypatch, caplog, gone):
    pair = authority.issue("server")
    held = Reloaded(pair, partial(tls.read, *pair, None))
    old = held.value
    pair[0].touch()
    real = tls.read_bytes

    def read_bytes(path, name):
        raw = real(path, name)
        if path == pair[1]:  # the last that is read; then the pair is opened once more
            pair[gone].unlink()
        return raw

    monkeypatch.setattr(tls, "read_bytes", read_bytes)
    assert not held.refresh()
    assert held.value is old
    assert "cannot be read: No such file" in caplog.text


def test_files_that_cannot_be_used_are_named(authority, tmp_path):
    certificate, key = authority.issue("server")
    _, other = authority.issue("other")
    missing, nonsense = tmp_path / "missing.pem", tmp_path / "nonsense.pem"
    nonsense.write_bytes(b"\xff nonsense")
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open")
        )
    )
    for config, words in (
        (TlsConfig(missing, key), f"tls_certificate {missing} cannot be read: No such file"),
        (TlsConfig(certificate, missing), f"tls_key {missing} cannot be read: No such file"),
        (TlsConfig(certificate, tmp_path), f"tls_key {tmp_path} cannot be read: Is a directory"),
        (TlsConfig(certificate, key, missing), f"tls_client_ca {missing} cannot be read: No such file"),
        (TlsConfig(nonsense, key), f"tls_certificate {nonsense} holds no certificate in PEM"),
        (TlsConfig(key, key), f"tls_certificate {key} holds no certificate in PEM"),
        (TlsConfig(certificate, key, nonsense), f"tls_client_ca {nonsense} holds no certificate in PEM"),
        (TlsConfig(certificate, certificate), f"tls_key {certificate} is no private key in PEM"),
        (TlsConfig(certificate, locked), f"tls_key {locked} is no private key in PEM without a passphrase"),
        (TlsConfig(certificate, other), f"tls_key {other} does not belong to the certificate {certificate}"),
    ):
        with pytest.raises(ConfigError) as caught:
            server_credentials(config)
        assert str(caught.value).startswith(words)
