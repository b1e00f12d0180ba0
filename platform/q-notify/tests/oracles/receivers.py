"""A mail server and a webhook receiver that tests send to; each line of output is what came, as JSON.

Takes the webhook secret (and further ones, a line each, on standard input), and for a mail server with STARTTLS a certificate and a key, as arguments. The first line says
the ports. Mail is read by the standard library's parser, webhooks are verified by the specification's own library.
"""

import email
import email.policy
import json
import ssl
import sys
import threading
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

secret = sys.argv[1]
certificate, key = (sys.argv[2], sys.argv[3]) if len(sys.argv) > 3 else (None, None)
lock = threading.Lock()
refusals = {"count": 0}


def say(what):
    with lock:
        print(json.dumps(what), flush=True)


class Mails:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        if address.startswith("later@"):
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        say({
            "mail": envelope.rcpt_tos,
            "from": str(mail["From"]),
            "subject": str(mail["Subject"]),
            "messageId": str(mail["Message-ID"]),
            "inReplyTo": str(mail["In-Reply-To"] or ""),
            "autoSubmitted": str(mail["Auto-Submitted"]),
            "date": mail["Date"].datetime.timestamp(),
            "text": mail.get_content(),
            "isEncrypted": session.ssl is not None,
            "user": session.auth_data.decode() if session.auth_data else None,
        })
        return "250 kept"


def allow(server, session, envelope, mechanism, data):
    if data.password == b"secret":
        return AuthResult(success=True, auth_data=data.login)
    return AuthResult(success=False, handled=False)


class Server(Controller):
    def factory(self):
        if certificate is None:
            return SMTP(self.handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return SMTP(self.handler, tls_context=context, require_starttls=True, authenticator=allow, auth_required=True)


class Hooks(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/gone":
            return self.answer(410)
        if self.path == "/moved":
            return self.answer(302)
        if self.path == "/flaky" and refusals["count"] == 0:
            refusals["count"] += 1
            return self.answer(503)
        try:
            Webhook(secret).verify(body, dict(self.headers))
            verified = True
        except WebhookVerificationError as error:
            # A frozen clock sends stamps the library finds old or new: then the signature alone is what is judged.
            at = datetime.fromtimestamp(int(self.headers["webhook-timestamp"]), timezone.utc)
            expected = Webhook(secret).sign(self.headers["webhook-id"], at, body.decode())
            verified = "timestamp" in str(error) and expected == self.headers["webhook-signature"]
        say({"hook": self.path, "id": self.headers["webhook-id"], "verified": verified, "body": json.loads(body)})
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


mails = Server(Mails(), hostname="127.0.0.1", port=free_port())
mails.start()
hooks = ThreadingHTTPServer(("127.0.0.1", 0), Hooks)
say({"smtp": mails.port, "http": hooks.server_port})
threading.Thread(target=hooks.serve_forever, daemon=True).start()
# A secret that was made later: whoever starts us may not know it yet.
for line in sys.stdin:
    secret = line.strip()
    say({"secret": "learned"})
