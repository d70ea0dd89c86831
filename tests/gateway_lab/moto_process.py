"""moto with the lab's DynamoDB: transactions that hold, and speed at 10,000 peers."""

from __future__ import annotations

import sys

from moto.server import main

from lab import dynamodb

if __name__ == "__main__":
    dynamodb.install()
    main(["-H", "127.0.0.1", "-p", sys.argv[1]])
