"""Signs one request as botocore does, at the instant it is told, and prints the Authorization header."""
import datetime
import json
import sys
from unittest import mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

asked = json.load(sys.stdin)
at = datetime.datetime.strptime(asked["at"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
request = AWSRequest(method=asked["method"], url=asked["url"], data=asked["body"].encode())
signer = botocore.auth.S3SigV4Auth(Credentials("AKIDEXAMPLE", "secret/with+signs", asked.get("session")), "s3", asked["region"])
request.context["client_config"] = None
request.context["payload_signing_enabled"] = True
patches = [mock.patch.object(signer, "_should_sha256_sign_payload", return_value=True)]
for name in ("get_current_datetime",):
    if hasattr(botocore.auth, name):
        patches.append(mock.patch.object(botocore.auth, name, return_value=at))
for patch in patches:
    patch.start()
request.headers["host"] = asked["host"]
signer.add_auth(request)
print(request.headers["Authorization"])
