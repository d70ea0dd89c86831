"""What the metadata service is asked, and what its answers mean."""

from __future__ import annotations

import urllib.error
from email.message import Message
from typing import TYPE_CHECKING

import pytest

from gateway.metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

MAC = "02:aa:bb:cc:dd:ee"


def service(pages: Mapping[str, str]) -> Metadata:
    """One that has these pages and a token."""
    made = Metadata()

    def open_(path: str, *, headers: dict[str, str], method: str = "GET") -> str:
        if method == "PUT":
            return "token"
        assert headers == {"X-aws-ec2-metadata-token": "token"}
        if path not in pages:
            raise urllib.error.HTTPError(path, 404, "no", Message(), None)
        return pages[path]

    made._open = open_
    return made


def test_the_primary_interface_is_found_by_its_address() -> None:
    pages = {
        "/latest/meta-data/mac": f"{MAC}\n",
        f"/latest/meta-data/network/interfaces/macs/{MAC}/interface-id": "eni-1\n",
    }
    assert service(pages).interface() == "eni-1"


@pytest.mark.parametrize("pages", [{}, {"/latest/meta-data/mac": MAC}])
def test_a_service_that_names_no_interface_is_not_understood(pages: Mapping[str, str]) -> None:
    with pytest.raises(ValueError, match="names no network interface"):
        service(pages).interface()
