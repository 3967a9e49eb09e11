"""A ROS graph of its own for tools that start nodes themselves."""

import os

import pytest


@pytest.fixture(scope='module')
def isolated_graph(domain_ids):
    """Keep other graphs on this machine out, and this one's settings in."""
    before = dict(os.environ)
    os.environ['ROS_DOMAIN_ID'] = str(domain_ids())
    yield
    os.environ.clear()
    os.environ.update(before)
