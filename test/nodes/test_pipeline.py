"""Transitions that fail half way leave nothing behind; with real nodes, in this process."""

from __future__ import annotations

import pytest
import rclpy
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from depth_perception.nodes import depth_node
from depth_perception.nodes._pipeline import Pipeline
from depth_perception.nodes.depth_node import DepthMaker, DepthNode
from depth_perception.nodes.multi_depth_node import MultiDepthNode

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@pytest.fixture
def start(domain_ids, make_model):
    """Make a node on a small model in the context that nodes take by default."""
    nodes = []
    rclpy.init(args=['--ros-args', '-p', f'model:={make_model()}', '-p', 'backend:=cpu',
                     '-p', 'threads:=1', '-p', 'autostart:=false'], domain_id=domain_ids())

    def start(kind) -> LifecycleNode:
        nodes.append(kind())
        return nodes[-1]

    yield start
    for node in nodes:
        node.trigger_shutdown()
        node.destroy_node()
    rclpy.try_shutdown()


def pipelines(node) -> list[Pipeline]:
    return [each for each in node._managed_entities if isinstance(each, Pipeline)]


def entities(node) -> tuple[int, int]:
    return len(list(node.publishers)), len(list(node.subscriptions))


@pytest.fixture
def failing(monkeypatch):
    """Let one method fail when it is called for the given time."""
    def fail(owner, name, time, error=None):
        work, calls = getattr(owner, name), []

        def once(*arguments, **options):
            calls.append(1)
            if len(calls) == time:
                raise error or ValueError('no luck')
            return work(*arguments, **options)

        monkeypatch.setattr(owner, name, once)

    return fail


def test_an_activation_that_fails_half_way_can_be_tried_again(start, failing):
    node = start(DepthNode)
    assert node.trigger_configure() == SUCCESS
    before = entities(node)
    failing(depth_node, 'Input', 1)     # the camera_info is subscribed to by then
    assert node.trigger_activate() == FAILURE
    assert entities(node) == before
    pipeline, = pipelines(node)
    assert pipeline._loop._worker is None and pipeline._state == 'inactive'
    assert 'no luck' in str(pipeline._health.status().message)
    assert node.trigger_activate() == SUCCESS
    assert node.trigger_deactivate() == SUCCESS and entities(node) == before


def test_a_configuration_that_fails_half_way_gives_back_the_model(start, failing):
    node = start(DepthNode)
    before = entities(node)
    failing(depth_node, 'DepthOutput', 1)       # the model is loaded by then
    assert node.trigger_configure() == FAILURE
    pipeline, = pipelines(node)
    assert entities(node) == before and not pipeline._parameters.frozen
    assert pipeline._maker._host._engine is None
    assert node.trigger_configure() == SUCCESS


def test_a_transition_that_ends_in_a_bug_says_so_until_it_is_tried_again(start, failing):
    node = start(DepthNode)
    before = entities(node)
    failing(depth_node, 'Input', 1, RuntimeError('no more memory'))
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.ERROR
    pipeline, = pipelines(node)
    assert pipeline._state == 'unconfigured' and entities(node) == before
    status = pipeline._health.status()
    assert status.message == 'not configured: RuntimeError: no more memory'
    assert node.trigger_configure() == SUCCESS and not pipeline._fault
    assert node.trigger_activate() == SUCCESS


def test_all_cameras_are_configured_and_activated_or_none(start, failing):
    node = start(MultiDepthNode)
    before = entities(node)
    failing(DepthMaker, 'configure', 2)
    assert node.trigger_configure() == FAILURE
    assert [each._state for each in pipelines(node)] == ['unconfigured'] * 2
    assert entities(node) == before
    assert not any(each._parameters.frozen for each in pipelines(node))
    assert node.trigger_configure() == SUCCESS
    configured = entities(node)
    failing(DepthMaker, 'activate', 2)
    assert node.trigger_activate() == FAILURE
    assert [each._state for each in pipelines(node)] == ['inactive'] * 2
    assert entities(node) == configured
    assert node.trigger_activate() == SUCCESS
    assert [each._state for each in pipelines(node)] == ['active'] * 2
