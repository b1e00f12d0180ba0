"""Reads our JOSE texts with PyPI `jwcrypto`, and writes texts for us to read."""

import base64
import json
import sys

from jwcrypto import jwe, jwk, jws

BYTES = base64.urlsafe_b64decode("AP8=") + "pay 12.50 to Ada, é".encode()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def read_jws():
    """{jwk, text} -> {header, payload, thumbprint}"""
    asked = json.load(sys.stdin)
    key = jwk.JWK(**asked["jwk"])
    token = jws.JWS()
    token.allowed_algs = ["EdDSA"]
    token.deserialize(asked["text"], key)
    print(json.dumps({"header": token.jose_header, "payload": b64(token.payload), "thumbprint": key.thumbprint()}))


def write_jws():
    """{seed, public} -> {text, payload}"""
    asked = json.load(sys.stdin)
    key = jwk.JWK(kty="OKP", crv="Ed25519", d=asked["seed"], x=asked["public"])
    token = jws.JWS(BYTES)
    header = {"alg": "EdDSA", "typ": "at+jwt", "kid": "k1", "jwk": key.export_public(as_dict=True)}
    token.add_signature(key, protected=json.dumps(header))
    print(json.dumps({"text": token.serialize(compact=True), "payload": b64(BYTES)}))


def read_jwe():
    """{key, text} -> {header, payload}"""
    asked = json.load(sys.stdin)
    token = jwe.JWE(algs=["A256KW", "A256GCM"])
    token.deserialize(asked["text"], jwk.JWK(kty="oct", k=asked["key"]))
    print(json.dumps({"header": token.jose_header, "payload": b64(token.payload)}))


def write_jwe():
    """{key} -> {text, payload}"""
    asked = json.load(sys.stdin)
    header = {"alg": "A256KW", "enc": "A256GCM", "kid": "k1", "ctx": "c"}
    token = jwe.JWE(BYTES, protected=json.dumps(header))
    token.add_recipient(jwk.JWK(kty="oct", k=asked["key"]))
    print(json.dumps({"text": token.serialize(compact=True), "payload": b64(BYTES)}))


{f.__name__: f for f in (read_jws, write_jws, read_jwe, write_jwe)}[sys.argv[1]]()
