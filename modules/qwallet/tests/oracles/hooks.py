"""Says of deliveries whether their receiver would believe them: standardwebhooks for v1, cryptography for v1a.

Standard input is {"key", "now", "deliveries": [{"id", "timestamp", "signature", "body"}]}; the answer is a list of
"verified" and of reasons why not. `now` is the receiver's clock, in seconds.
"""

import base64
import json
import sys
from datetime import datetime, timezone
from unittest import mock

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import webhooks

asked = json.load(sys.stdin)


class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(asked["now"], tz=tz or timezone.utc)


def symmetric(delivery):
    headers = {f"webhook-{name}": str(delivery[name]) for name in ("id", "timestamp", "signature")}
    with mock.patch.object(webhooks, "datetime", Clock):
        webhooks.Webhook(asked["key"]).verify(delivery["body"], headers)


def asymmetric(delivery):
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(asked["key"].removeprefix("whpk_")))
    signed = f"{delivery['id']}.{delivery['timestamp']}.{delivery['body']}".encode()
    for signature in delivery["signature"].split(" "):
        version, value = signature.split(",")
        if version == "v1a":
            try:
                return key.verify(base64.b64decode(value), signed)
            except InvalidSignature:
                pass
    raise ValueError("No matching signature found")


verdicts = []
for delivery in asked["deliveries"]:
    try:
        asymmetric(delivery) if asked["key"].startswith("whpk_") else symmetric(delivery)
        verdicts.append("verified")
    except Exception as error:
        verdicts.append(str(error))
print(json.dumps(verdicts))
