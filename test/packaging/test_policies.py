"""config/sros2: the form of the policy files; test/nodes/test_policies.py has their content."""

from __future__ import annotations

from pathlib import Path
import re
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'config' / 'sros2'
NODES = sorted(path.stem for path in (ROOT / 'depth_perception' / 'nodes').glob('*_node.py'))
KINDS = {'topics': {'publish', 'subscribe'}, 'services': {'reply', 'request'}}
NAME = re.compile(r'(/|~/)?[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*)*')


def profile(node: str) -> ElementTree.Element:
    root = ElementTree.parse(FOLDER / f'{node}.policy.xml').getroot()
    enclaves, = root
    enclave, = enclaves
    profiles, = enclave
    only, = profiles
    assert [root.tag, enclaves.tag, enclave.tag, profiles.tag, only.tag] == [
        'policy', 'enclaves', 'enclave', 'profiles', 'profile']
    assert root.attrib == {'version': '0.2.0'}
    assert enclave.attrib == {'path': f'/depth_perception/{node}'}
    return only


def test_each_node_has_a_policy_and_no_file_is_left_over():
    assert sorted(path.name for path in FOLDER.iterdir()) == [f'{n}.policy.xml' for n in NODES]


@pytest.mark.parametrize('node', NODES)
def test_a_policy_has_the_form_of_sros2(node):
    only = profile(node)
    assert only.attrib == {'ns': '/', 'node': node}
    for group in only:
        (right, verdict), = group.attrib.items()
        assert right in KINDS[group.tag]
        assert verdict == 'ALLOW'
        assert {entry.tag for entry in group} == {group.tag[:-1]}


@pytest.mark.parametrize('node', NODES)
def test_a_policy_allows_names_and_no_patterns_each_once(node):
    allowed = [(*group.attrib, entry.text) for group in profile(node) for entry in group]
    assert len(set(allowed)) == len(allowed)
    assert not [name for _, name in allowed if not NAME.fullmatch(name)]


@pytest.mark.parametrize('node', NODES)
def test_no_node_may_ask_others_for_services(node):
    assert not [group for group in profile(node) if 'request' in group.attrib]


@pytest.mark.parametrize('node', NODES)
def test_sros2_itself_takes_the_policy(node):
    policy = pytest.importorskip('sros2.policy')
    assert policy.load_policy(FOLDER / f'{node}.policy.xml') is not None


def test_the_launch_files_start_each_node_in_the_enclave_of_its_policy():
    parts = (ROOT / 'depth_perception' / 'tools' / 'launch_parts.py').read_text()
    assert "PACKAGE = 'depth_perception'" in parts
    assert "'--enclave', f'/{PACKAGE}/{executable}'" in parts
