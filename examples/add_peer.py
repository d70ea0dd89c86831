#!/usr/bin/env python3
"""Let a peer in by its public key over gatepair's HTTP API; its config goes to stdout.

The request is signed with AWS Signature Version 4 by whatever credentials botocore finds: in a CI
job those of its role. The private key stays where it was made: the config has a placeholder for it.

Exit status: 0 done, 1 refused or failed; what the API says is on stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from botocore.credentials import Credentials

SERVICE = "lambda"
"""What a function URL's requests are signed for."""
LIMIT = 60.0
"""Seconds."""


def signed(url: str, value: object, credentials: Credentials, region: str) -> AWSRequest:
    """A POST of that value, ready to be sent."""
    body = json.dumps(value).encode()
    headers = {"Content-Type": "application/json"}
    request = AWSRequest("POST", url, data=body, headers=headers)
    SigV4Auth(credentials.get_frozen_credentials(), SERVICE, region).add_auth(request)
    return request


def main(argv: Sequence[str]) -> int:
    """Add the peer, and print its config."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="`pulumi stack output api_url`")
    parser.add_argument("--region", required=True)
    parser.add_argument("name")
    parser.add_argument("public_key")
    parser.add_argument("--owner", default="")
    parser.add_argument("--expires", help="30d, a date, or never")
    args = parser.parse_args(argv)
    credentials = botocore.session.Session().get_credentials()
    if credentials is None:
        sys.exit("add_peer: no AWS credentials were found; set AWS_PROFILE, or give the job a role")
    wanted = {"name": args.name, "public_key": args.public_key, "owner": args.owner}
    if args.expires:
        wanted["expires"] = args.expires
    url = f"{args.url.rstrip('/')}/peers"
    request = signed(url, wanted, credentials, args.region)
    sent = urllib.request.Request(  # noqa: S310 - the URL is the caller's
        url, data=request.data, headers=dict(request.headers), method="POST"
    )
    try:
        with urllib.request.urlopen(sent, timeout=LIMIT) as answer:  # noqa: S310 - as above
            print(json.load(answer)["config"], end="")
    except urllib.error.HTTPError as err:
        print(f"add_peer: HTTP {err.code}: {err.read().decode()}", file=sys.stderr)
        return 1
    except OSError as err:
        print(f"add_peer: {args.url}: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
