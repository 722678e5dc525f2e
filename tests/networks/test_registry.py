"""Configurations that were stored find their network, or an error that says why not."""

import pytest

from networks.recurrent.config import RecurrentConfig
from networks.registry import NETWORKS, Network, NetworkError, NetworkRegistry
from tests.networks.window import WINDOWS, WindowConfig, WindowModel

WINDOW = WindowConfig(4, 3).to_json()


def test_the_tag_is_beside_the_config():
    assert WINDOW == {"kind": "window", "version": 2, "config": {"window": 4, "width": 3}}


def test_a_registry_reads_and_builds_its_own_kinds_alone():
    assert WINDOWS.read(WINDOW) == WindowConfig(4, 3)
    assert type(WINDOWS.build(WindowConfig(4, 3), 6, 5)) is WindowModel
    with pytest.raises(NetworkError, match="kind 'window', and this Charloom has recurrent"):
        NETWORKS.read(WINDOW)
    with pytest.raises(NetworkError, match="kind 'recurrent', and this Charloom has window"):
        WINDOWS.build(RecurrentConfig(cells=3), 6, 5)
    with pytest.raises(NetworkError, match="kind 'window'"):
        NETWORKS.size(WindowConfig(4, 3), 6, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "has version 3, and this Charloom reads version 2: update Charloom"),
        ({"version": 1}, "malformed"),
        ({"version": "2"}, "malformed"),
        ({"version": True}, "malformed"),
        ({"kind": None}, "does not state the kind"),
        ({"kind": ["window"]}, "does not state the kind"),
        ({"config": None}, "malformed"),
        ({"config": {"window": 4, "depth": 1}}, "malformed: it has depth"),
        ({"config": {"window": 4.5}}, "malformed: Expected `int`"),
        ({"config": {"window": 0}}, "malformed: window must be at least 1"),
    ],
    ids=str,
)
def test_a_config_that_cannot_be_used_is_refused(change, message):
    with pytest.raises(NetworkError, match=message):
        WINDOWS.read(WINDOW | change)


@pytest.mark.parametrize("data", [None, [], "window", 3, {}])
def test_what_is_no_config_is_refused(data):
    with pytest.raises(NetworkError, match="does not state the kind"):
        WINDOWS.read(data)


def test_no_two_networks_are_of_one_kind():
    twice = [Network(WindowConfig, WindowModel)] * 2
    with pytest.raises(AssertionError, match="a name of its own"):
        NetworkRegistry(twice)
