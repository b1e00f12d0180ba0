"""Checks our signatures with PyPI `jwcrypto`, from the published key set alone."""

import base64
import json
import sys

from jwcrypto import jwk, jws


def verify():
    """{jwks, text} -> {payload}: the key is found by `kid` in the set."""
    asked = json.load(sys.stdin)
    keys = jwk.JWKSet.from_json(json.dumps(asked["jwks"]))
    token = jws.JWS()
    token.allowed_algs = ["EdDSA"]
    token.deserialize(asked["text"])
    token.verify(keys.get_key(token.jose_header["kid"]))
    print(json.dumps({"payload": base64.b64encode(token.payload).decode()}))


{f.__name__: f for f in (verify,)}[sys.argv[1]]()
