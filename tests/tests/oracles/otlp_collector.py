"""A trace collector whose decoding is not ours: prints its port, then each span that arrives as one line of JSON."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

PRINTING = Lock()


def value(any_value):
    return getattr(any_value, any_value.WhichOneof("value"))


def attributes(pairs):
    return {pair.key: value(pair.value) for pair in pairs}


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.path == "/v1/traces", self.path
        assert self.headers["content-type"] == "application/x-protobuf", self.headers
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            service = attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.show(service, span)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def show(self, service, span):
        # What the protocol demands of every span.
        assert len(span.trace_id) == 16 and len(span.span_id) == 8, span
        assert len(span.parent_span_id) in (0, 8), span
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano, span
        line = json.dumps({
            "service": service["service.name"],
            "namespace": service["service.namespace"],
            "name": span.name,
            "kind": Span.SpanKind.Name(span.kind),
            "trace": span.trace_id.hex(),
            "span": span.span_id.hex(),
            "parent": span.parent_span_id.hex(),
            "links": [link.span_id.hex() for link in span.links],
            "is_error": span.status.code == Status.STATUS_CODE_ERROR,
            "attributes": attributes(span.attributes),
        })
        with PRINTING:
            print(line, flush=True)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
print(server.server_address[1], flush=True)
sys.exit(server.serve_forever())
