"""Launch templates: user data of every version.

moto: the first version's user data is parsed when the template is made; a later version's is kept
as it was sent, and running an instance from it fails an assertion.
AWS (EC2 API reference, CreateLaunchTemplateVersion): it is base64 in both.
Here: parsed when it is asked for, in every version alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moto.core.types import Base64EncodedString
from moto.ec2.models.launch_templates import LaunchTemplateVersion
from moto.ec2.utils import parse_user_data

if TYPE_CHECKING:
    from collections.abc import Callable


def install(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Replace moto's property; `replace` is for tests that put it back."""
    replace(LaunchTemplateVersion, "user_data", property(_user_data))


def _user_data(self: Any) -> Base64EncodedString | None:
    given = self.data.get("UserData")
    return given if isinstance(given, Base64EncodedString) else parse_user_data(given)
