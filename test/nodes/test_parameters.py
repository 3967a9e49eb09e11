"""Parameters from a dataclass: described, checked at start, then applied or refused."""

from dataclasses import dataclass, fields
import math

import pytest
import rclpy
from rclpy.parameter import Parameter

from depth_perception.nodes._parameter_files import names_for_every_node
from depth_perception.nodes._parameters import ParameterError, ParameterServer, parameter


@dataclass(frozen=True)
class Config:
    near: float = parameter(0.5, 'nearest depth', name='range.near', unit='m', limits=(0.0, 10.0))
    far: float = parameter(20.0, 'farthest depth', name='range.far', unit='m',
                           limits=(0.0, math.inf))
    stride: int = parameter(1, 'every n-th pixel', limits=(1, 16))
    mode: str = parameter('newest', 'which frames', choices=('newest', 'every'))
    model: str = parameter('unet', 'file', at_configure=True)
    device: str = parameter('cpu', 'runs the model', read_only=True)
    enabled: bool = parameter(True, 'on or off')
    distances: tuple = parameter((0.5, 1.0), 'of the stack', unit='m')

    def __post_init__(self):
        if self.near >= self.far:
            raise ValueError(f'range.near is {self.near}; it must be below range.far, {self.far}')


@pytest.fixture(scope='module')
def context(domain_ids):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain_ids())
    yield context
    context.try_shutdown()


@pytest.fixture
def make(context):
    """Return a function that starts a node with overrides and gives its ParameterServer."""
    nodes = []

    def start(**overrides):
        given = [Parameter(name.replace('__', '.'), value=value)
                 for name, value in overrides.items()]
        node = rclpy.create_node('tester', context=context, parameter_overrides=given)
        nodes.append(node)
        server = ParameterServer(node, Config)
        return node, server

    yield start
    for node in nodes:
        node.destroy_node()


def change(node, **values):
    """Set parameters as ``ros2 param set`` does; return (successful, reason)."""
    given = [Parameter(name.replace('__', '.'), value=value) for name, value in values.items()]
    result = node.set_parameters_atomically(given)
    return result.successful, result.reason


def test_without_a_file_the_defaults_hold(make):
    node, server = make()
    server.check()
    assert server.config == Config()
    assert node.get_parameter('range.near').value == 0.5


def test_the_descriptor_is_the_manual(make):
    node, _ = make()
    near, mode = node.describe_parameter('range.near'), node.describe_parameter('mode')
    assert near.description == 'nearest depth [m]'
    assert (near.floating_point_range[0].from_value, near.floating_point_range[0].to_value) == (
        0.0, 10.0)
    assert node.describe_parameter('stride').integer_range[0].to_value == 16
    assert mode.additional_constraints == 'one of: newest, every'
    assert node.describe_parameter('device').read_only


def test_values_of_a_file_arrive_in_the_config(make):
    _, server = make(range__near=1.5, stride=4, mode='every', distances=[1.0, 2.0, 3.0])
    server.check()
    assert server.config == Config(near=1.5, stride=4, mode='every', distances=(1.0, 2.0, 3.0))


def test_a_whole_number_serves_as_a_float(make):
    node, server = make(range__far=30, distances=[1, 2])
    server.check()
    assert server.config.far == 30.0
    assert server.config.distances == (1.0, 2.0)
    assert type(node.get_parameter('range.far').value) is float


@pytest.mark.parametrize(('override', 'words'), [
    ({'range__near': -1.0}, ['range.near is -1.0', 'between 0.0 and 10.0 m']),
    ({'range__near': float('nan')}, ['range.near is nan', 'between']),
    ({'stride': 0}, ['stride is 0', 'between 1 and 16']),
    ({'stride': 1.5}, ['stride is 1.5 (float)', 'of type int', 'like 1']),
    ({'mode': 'all'}, ["mode is 'all'", 'newest, every']),
    ({'enabled': 'yes'}, ["enabled is 'yes' (str)", 'like True']),
    ({'distances': 1.0}, ['distances is 1.0', 'a list, such as [0.5]']),
    ({'strid': 2}, ["unknown parameter 'strid'", "'stride'"]),
    ({'near': 2.0}, ["unknown parameter 'near'", "'range.near'"]),
    ({'qos_overrides./image.publisher.reliability': 'mostly'}, ["'mostly'", 'best_effort']),
    ({'qos_overrides./image.subscription.depth': 'many'}, ["'many'", 'whole number']),
])
def test_a_wrong_value_at_start_is_told_and_its_default_holds(make, override, words):
    node, server = make(**override)
    with pytest.raises(ParameterError) as caught:
        server.check()
    for word in words:
        assert word in str(caught.value)
    assert server.config == Config()


def test_values_that_do_not_fit_together_are_kept_and_put_right_by_one_param_set(make):
    node, server = make(range__near=9.0, range__far=3.0, model='mine')
    node.set_parameters([Parameter('use_sim_time', value=True)])  # no business of ours
    with pytest.raises(ParameterError, match='range.near is 9.0.*below range.far, 3.0'):
        server.check()
    assert node.get_parameter('range.near').value == 9.0
    assert not change(node, stride=2)[0]
    assert change(node, range__far=10.0)[0]
    server.check()
    assert server.config == Config(near=9.0, far=10.0, model='mine')


def test_all_that_is_wrong_is_told_at_once(make):
    _, server = make(stride=99, mode='all', spam=1)
    with pytest.raises(ParameterError, match=r"(?s)(?=.*stride)(?=.*mode)(?=.*spam)"):
        server.check()


def test_a_wrong_value_is_put_right_by_param_set(make):
    node, server = make(stride=99)
    assert change(node, stride=2) == (True, '')
    server.check()


@pytest.mark.parametrize('name', ['use_sim_time', 'qos_overrides./image.publisher.depth'])
def test_names_of_ros_itself_are_not_unknown(make, name):
    _, server = make(**{name: 'use' in name or 3})
    server.check()


def test_a_change_takes_effect_and_the_listener_hears_of_it(make):
    node, server = make()
    heard = []
    server.on_change = lambda config, names: heard.append((config.stride, names))
    assert change(node, stride=3, range__near=0.5)[0]
    assert heard == [(3, {'stride'})]  # near is as it was
    assert server.config.stride == 3


def test_a_file_may_be_another_one_under_the_same_name(make, context):
    @dataclass(frozen=True)
    class Files(Config):
        table: str = parameter('a.yaml', 'file', names_file=True)

    heard = []
    node = rclpy.create_node('files', context=context)
    ParameterServer(node, Files, lambda config, names: heard.append(names))
    assert change(node, table='a.yaml', stride=1)[0]
    assert heard == [{'table'}]
    node.destroy_node()


def test_a_whole_number_set_later_serves_as_a_float_where_rclpy_can(make):
    node, server = make()
    if not hasattr(node, 'add_pre_set_parameters_callback'):
        pytest.skip('newer than Humble')
    assert change(node, range__far=30)[0]
    assert node.get_parameter('range.far').value == server.config.far == 30.0


def refuse(config, names):
    raise ValueError('not now')


def not_ours(config, names):
    raise PermissionError(13, 'Permission denied')


@pytest.mark.parametrize(('values', 'reason'), [
    ({'stride': 17}, 'out of range'),
    ({'mode': 'all'}, 'newest, every'),
    ({'enabled': 1}, 'Wrong parameter type'),
    ({'device': 'gpu'}, 'read-only'),
    ({'range__far': 0.2}, 'below range.far'),
    ({'stride': 2, 'mode': 'all'}, 'newest, every'),
])
def test_a_bad_change_is_refused_with_the_reason_and_nothing_changes(make, values, reason):
    node, server = make()
    successful, text = change(node, **values)
    assert not successful
    assert reason in text
    assert server.config == Config()
    assert node.get_parameter('stride').value == 1


def test_a_change_that_the_node_refuses_stays_out(make):
    node, server = make()
    server.on_change = refuse
    assert change(node, stride=2) == (False, 'not now')
    assert server.config.stride == node.get_parameter('stride').value == 1


def test_a_file_that_the_system_refuses_is_a_reason_and_no_end_of_the_node(make):
    node, server = make()
    server.on_change = not_ours
    assert change(node, stride=2) == (False, '[Errno 13] Permission denied')
    assert server.config.stride == 1


def test_what_is_read_at_configure_waits_for_cleanup(make):
    node, server = make()
    server.frozen = True
    successful, reason = change(node, model='other')
    assert not successful
    assert 'model' in reason and 'cleanup' in reason
    assert change(node, model='unet', stride=2)[0]  # the same value is no change
    server.frozen = False
    assert change(node, model='other')[0]


def test_every_field_has_a_description():
    assert all(item.metadata['description'] for item in fields(Config))


# -- wildcard or own name ------------------------------------------------------------------------


@pytest.mark.parametrize(('text', 'shared'), [
    ('/**: {ros__parameters: {a: 1, b: {c: 2}}}', {'a', 'b.c'}),
    ('/*/*: {ros__parameters: {a: 1}}', {'a'}),
    ('depth_node: {ros__parameters: {a: 1}}', set()),
    ('/robot/depth_node: {ros__parameters: {a: 1}}', set()),
    ('robot: {depth_node: {ros__parameters: {a: 1}}}', set()),
    ('/**/depth_node: {ros__parameters: {a: 1}}', set()),
    ('other: {ros__parameters: {a: 1}}', set()),
    ('{/**: {ros__parameters: {a: 1, b: 1}}, depth_node: {ros__parameters: {a: 1}}}', {'b'}),
    ('/**: {ros__parameters: }', set()),
    ('', set()),
])
def test_names_meant_for_every_node_are_told_from_ones_own(tmp_path, text, shared):
    file = tmp_path / 'params.yaml'
    file.write_text(text)
    arguments = ['node', '--ros-args', '--params-file', str(file), '-p', 'a:=1']
    assert names_for_every_node('depth_node', arguments) == shared
