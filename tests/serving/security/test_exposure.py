import pytest

from serving.rpc.security.exposure import ExposureError, check_exposure

LOCAL = [
    "127.0.0.1",
    "127.1.2.3",
    "localhost",
    "::1",
    "[::1]",
    "unix:/run/charloom",
    "unix-abstract:charloom",
]
PUBLIC = ["0.0.0.0", "::", "[::]", "10.0.0.1", "192.168.1.1", "example.org", "fe80::1", "", "::ffff:10.0.0.1"]


@pytest.mark.parametrize("host", LOCAL)
def test_on_this_machine_everything_goes(host):
    check_exposure(host, encrypts=False, knows_callers=False)


@pytest.mark.parametrize("host", PUBLIC)
def test_beyond_this_machine_it_needs_both(host):
    check_exposure(host, encrypts=True, knows_callers=True)
    for encrypts, knows_callers, missing in (
        (False, True, {"--tls-certificate"}),
        (True, False, {"--tokens"}),
        (False, False, {"--tls-certificate", "--tokens"}),
    ):
        with pytest.raises(ExposureError, match="--insecure-public") as caught:
            check_exposure(host, encrypts=encrypts, knows_callers=knows_callers)
        assert caught.value.exit_code == 2
        assert {word for word in ("--tls-certificate", "--tokens") if word in str(caught.value)} == missing
