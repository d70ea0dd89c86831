"""User data as text: what it holds, and how large it may be."""

from __future__ import annotations

import base64
import json

import pytest
import yaml

from components.user_data import LIMIT, render

TEMPLATE = """#cloud-config
write_files:
  - {path: /environment, content: $environment_json_b64}
  - {path: /bootstrap, content: $bootstrap_b64}
"""


def test_both_files_come_out_as_they_went_in() -> None:
    environment = {"stack": "dev", "vpc_cidrs": ["10.1.0.0/16"]}
    bootstrap = "print('$no placeholder: ${nor} this')\n"
    text = render(environment, bootstrap=bootstrap, template=TEMPLATE)
    files = [base64.b64decode(f["content"]).decode() for f in yaml.safe_load(text)["write_files"]]
    assert json.loads(files[0]) == environment
    assert files[1] == bootstrap


def test_the_order_of_the_environments_keys_does_not_matter() -> None:
    texts = [
        render(environment, bootstrap="", template=TEMPLATE)
        for environment in ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    ]
    assert texts[0] == texts[1]


def test_what_ec2_would_refuse_is_refused_here_with_its_size() -> None:
    room = LIMIT - len(render({}, bootstrap="", template=TEMPLATE))
    fits = "x" * (room // 4 * 3)
    assert len(render({}, bootstrap=fits, template=TEMPLATE)) <= LIMIT
    with pytest.raises(ValueError, match=r"user data: 16\d\d\d bytes: EC2 takes 16384"):
        render({}, bootstrap=fits + "xxx", template=TEMPLATE)


def test_a_template_with_an_unknown_place_is_refused() -> None:
    with pytest.raises(KeyError, match="environment_jsn"):
        render({}, bootstrap="", template="$environment_jsn")
