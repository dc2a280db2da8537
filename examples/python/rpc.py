"""Requests and replies over RabbitMQ. Both sides have a span; these spans are all that standoff needs to know."""

import sys
import time
import uuid

import pika
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

# RabbitMQ's name for "on the channel that the request came from".
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"

tracer = trace.get_tracer("standoff-example")


def server(service, id):
    """What serves an id, as one names it in both services: by this name calls and those who answer them meet."""
    return {"service-a": f"{{:server_a, {id}}}", "service-b": f"{{:server_b, {id}}}"}[service]


class Rpc:
    """One connection, which asks for or serves one thing at a time."""

    def __init__(self, url, prefix, timeout):
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        # Before the names of queues, so that systems that share a broker do not share queues.
        self.prefix = prefix
        self.timeout = timeout
        self.calls = self.connection.channel()
        self.calls.basic_consume(DIRECT_REPLY_TO, self.on_reply, auto_ack=True)
        self.awaited = self.reply = None

    def ask(self, service, id):
        """Asks a service for an id, and waits for what it answers."""
        # The one line that makes a wait of it: this span is open from before the request leaves until its reply has come.
        # That of a library that only publishes ends when the request has left.
        with tracer.start_as_current_span(
            f"ask {service}",
            kind=SpanKind.CLIENT,
            # A start signal tells what is known when the span starts.
            attributes={
                "standoff.target": server(service, id),
                "standoff.timeout_ms": round(self.timeout * 1000),
                "messaging.system": "rabbitmq",
                "messaging.destination.name": self.prefix + service,
            },
        ) as span:
            # With this span's context in the message, whoever handles it is known to answer this call.
            headers = {}
            propagate.inject(headers)
            try:
                return int(self.exchange(service, id, headers))
            except TimeoutError:
                span.set_attribute("error.type", "timeout")
                raise

    def exchange(self, service, id, headers):
        self.awaited, self.reply = str(uuid.uuid4()), None
        properties = pika.BasicProperties(
            content_type="text/plain",
            correlation_id=self.awaited,
            reply_to=DIRECT_REPLY_TO,
            # One that has waited so long is not begun any more: its caller would give up in the middle of it.
            expiration=str(round(self.timeout * 900)),
            headers=headers,
        )
        self.calls.basic_publish("", self.prefix + service, str(id), properties)
        until = time.monotonic() + self.timeout
        while self.reply is None:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no reply within {self.timeout:g} s")
            self.connection.process_data_events(time_limit=left)
        return self.reply

    def on_reply(self, channel, method, properties, body):
        # One that comes too late is not awaited any more.
        if properties.correlation_id == self.awaited:
            self.reply = body

    def serve(self, service, answer):
        """Answers the requests to a service, one after the other."""
        channel = self.connection.channel()
        queue = self.prefix + service
        # A queue that nobody uses for ten minutes goes.
        channel.queue_declare(queue, durable=True, arguments={"x-expires": 600_000})
        channel.basic_qos(prefetch_count=1)
        requests = channel.consume(queue)
        print(f"{service} is ready", file=sys.stderr, flush=True)
        for method, properties, body in requests:
            try:
                reply = self.handle(service, int(body), properties.headers or {}, answer)
            except TimeoutError as error:
                print(f"{server(service, int(body))} does not answer: {error}", file=sys.stderr, flush=True)
                channel.basic_reject(method.delivery_tag, requeue=False)
                continue
            back = pika.BasicProperties(content_type="text/plain", correlation_id=properties.correlation_id)
            channel.basic_publish("", properties.reply_to, str(reply), back)
            channel.basic_ack(method.delivery_tag)

    def handle(self, service, id, headers, answer):
        # For as long as this span is open the server of this id is busy with this request, and so not free for others.
        with tracer.start_as_current_span(
            f"serve {service}",
            context=propagate.extract(headers),
            kind=SpanKind.CONSUMER,
            attributes={"standoff.resource": server(service, id)},
        ):
            return answer(id)
