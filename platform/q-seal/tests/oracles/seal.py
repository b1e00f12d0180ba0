"""Checks our XAES-256-GCM against Tink (PyPI `tink`) and against the accumulated vectors of its specification."""

import hashlib
import json
import sys
import time

ITERATIONS = 10_000


def tink_aead(key: bytes):
    """Tink's XAES-256-GCM with `key` and no output prefix."""
    import tink
    from tink import aead, secret_key_access
    from tink.proto import tink_pb2, x_aes_gcm_pb2

    aead.register()
    value = x_aes_gcm_pb2.XAesGcmKey(
        version=0, key_value=key, params=x_aes_gcm_pb2.XAesGcmParams(salt_size=12)
    ).SerializeToString()
    keyset = tink_pb2.Keyset(primary_key_id=1)
    entry = keyset.key.add()
    entry.key_id = 1
    entry.status = tink_pb2.ENABLED
    entry.output_prefix_type = tink_pb2.RAW
    entry.key_data.type_url = "type.googleapis.com/google.crypto.tink.XAesGcmKey"
    entry.key_data.value = value
    entry.key_data.key_material_type = tink_pb2.KeyData.SYMMETRIC
    handle = tink.proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(aead.Aead)


def rows():
    return [{name: bytes.fromhex(text) for name, text in row.items()} for row in json.load(sys.stdin)]


def tink_seal():
    """[{key, aad, plaintext}] -> [nonce || ciphertext || tag], all hexadecimal."""
    print(json.dumps([tink_aead(row["key"]).encrypt(row["plaintext"], row["aad"]).hex() for row in rows()]))


def tink_open():
    """[{key, aad, sealed}] -> [plaintext]."""
    print(json.dumps([tink_aead(row["key"]).decrypt(row["sealed"], row["aad"]).hex() for row in rows()]))


def tink_speed():
    """How many 256-byte messages Tink seals in a second, on one core."""
    primitive, message = tink_aead(bytes(range(32))), bytes(256)
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < 1:
        for _ in range(1000):
            primitive.encrypt(message, b"place")
        count += 1000
    print(count / (time.perf_counter() - begun))


def accumulated_inputs():
    """The deterministic stream of the specification: more than enough bytes for the iterations."""
    sys.stdout.buffer.write(hashlib.shake_128().digest(ITERATIONS * (32 + 24 + 2 + 510)))


def accumulated_digest():
    print(hashlib.shake_128(sys.stdin.buffer.read()).hexdigest(32))


{f.__name__: f for f in (tink_seal, tink_open, tink_speed, accumulated_inputs, accumulated_digest)}[sys.argv[1]]()
