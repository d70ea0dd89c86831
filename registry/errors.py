"""What all failures of the registry have in common: a message that an operator can act on."""

from __future__ import annotations


class RegistryError(Exception):
    """The registry, or AWS on the way to it, did not do what was asked. Not the input's fault."""
