import math

import pytest

from charloom.client.servers import KEEPALIVE
from charloom.errors import ConfigError
from serving.rpc.connections import ConnectionConfig


def test_the_server_allows_what_our_client_does():
    assert 2 * ConnectionConfig().min_ping_interval <= KEEPALIVE


def test_a_request_of_the_longest_prompt_fits():
    assert ConnectionConfig().max_request_bytes > 4 * 1_000_000


def test_no_age_is_no_limit():
    assert "grpc.max_connection_age_ms" not in dict(ConnectionConfig().options)
    options = dict(ConnectionConfig(connection_age=0.5, connection_grace=1e9).options)
    assert options["grpc.max_connection_age_ms"] == 500
    assert options["grpc.max_connection_age_grace_ms"] == 2**31 - 1


@pytest.mark.parametrize(
    ("setting", "option"),
    [
        ("connection_age", "grpc.max_connection_age_ms"),
        ("connection_grace", "grpc.max_connection_age_grace_ms"),
        ("keepalive", "grpc.keepalive_time_ms"),
        ("keepalive_timeout", "grpc.keepalive_timeout_ms"),
        ("min_ping_interval", "grpc.http2.min_ping_interval_without_data_ms"),
    ],
)
def test_for_ever_is_what_grpc_takes_for_it(setting, option):
    config = ConnectionConfig(**({"connection_age": 1.0} | {setting: math.inf}))
    assert dict(config.options)[option] == 2**31 - 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_request_bytes", 100),
        ("max_header_bytes", 2**31),
        ("connection_age", -1),
        ("connection_grace", -1),
        ("keepalive", 0),
        ("keepalive_timeout", 0),
        ("min_ping_interval", -1),
        ("reader_timeout", 0),
    ],
)
def test_limits_out_of_range_are_named(setting, value):
    with pytest.raises(ConfigError, match=setting):
        ConnectionConfig(**{setting: value})
