"""The PyPI package did-webvh resolves an identity of a running instance over HTTP.

    python resolve.py <did> <origin in the did> <where it really listens>

Only the address is mapped (the resolver would ask https://<origin>/…), the request and the log are real.
"""

import asyncio
import json
import sys
from urllib.parse import urlsplit

import did_webvh.history as history
from did_webvh.resolver import resolve

did, origin, actual = sys.argv[1:4]
asked = []
read_url = history.read_url


def mapped(url, *args, **kwargs):
    asked.append(url)
    parts = urlsplit(url)
    assert parts.netloc == origin, url
    return read_url(actual + parts.path, *args, **kwargs)


history.read_url = mapped
result = asyncio.run(resolve(did))
print(json.dumps({**result, "asked": asked}))
