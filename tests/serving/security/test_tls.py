from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from charloom.errors import ConfigError
from serving.rpc.security import tls
from serving.rpc.security.reloaded import Reloaded
from serving.rpc.security.tls import TlsConfig


def test_without_files_nothing_is_encrypted():
    assert TlsConfig().credentials() is None


def test_a_pair_and_an_authority_make_credentials(authority):
    pair = authority.issue("server")
    assert TlsConfig(*pair).credentials() is not None
    assert TlsConfig(*pair, authority.root).credentials() is not None


def test_half_a_pair_is_refused(authority):
    certificate, key = authority.issue("server")
    for half in ((certificate, None), (None, key)):
        with pytest.raises(ConfigError, match="tls-certificate and tls-key need each other"):
            TlsConfig(*half)
    with pytest.raises(ConfigError, match="tls-client-ca needs tls-certificate and tls-key"):
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
        (TlsConfig(missing, key), f"tls-certificate {missing} cannot be read: No such file"),
        (TlsConfig(certificate, missing), f"tls-key {missing} cannot be read: No such file"),
        (TlsConfig(certificate, tmp_path), f"tls-key {tmp_path} cannot be read: Is a directory"),
        (TlsConfig(certificate, key, missing), f"tls-client-ca {missing} cannot be read: No such file"),
        (TlsConfig(nonsense, key), f"tls-certificate {nonsense} holds no certificate in PEM"),
        (TlsConfig(key, key), f"tls-certificate {key} holds no certificate in PEM"),
        (TlsConfig(certificate, key, nonsense), f"tls-client-ca {nonsense} holds no certificate in PEM"),
        (TlsConfig(certificate, certificate), f"tls-key {certificate} is no private key in PEM"),
        (TlsConfig(certificate, locked), f"tls-key {locked} is no private key in PEM without a passphrase"),
        (TlsConfig(certificate, other), f"tls-key {other} does not belong to the certificate {certificate}"),
    ):
        with pytest.raises(ConfigError) as caught:
            config.credentials()
        assert str(caught.value).startswith(words)
