"""Three ways to say that a span is open, and one that says nothing before it has ended.

Whichever it is, the rest of the program uses OpenTelemetry's own API and does not know. Each way needs libraries of its
own, see `requirements-….txt`.

The collector believes that what it has heard is still so once nothing has changed for a second (its settle time). So
every start and every end has to be on its way well within that: batches leave every 100 ms here, where the SDK would
gather for 5 s.
"""

BATCH_MS = 100


def start(way, service, instance, otlp):
    """Makes all spans of this process go to `otlp`, an address such as http://127.0.0.1:4318."""
    identity = {"service.name": service, "service.instance.id": instance}
    WAYS[way](identity, otlp)


def live(identity, otlp):
    """A span is exported when it starts, without an end, and again when it has ended."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    class LiveSpanProcessor(BatchSpanProcessor):
        def on_start(self, span, parent_context=None):
            self.on_end(span)  # Puts it into the next batch, as it is: open.

    exporter = OTLPSpanExporter(endpoint=f"{otlp}/v1/traces")
    provide(identity, LiveSpanProcessor(exporter, schedule_delay_millis=BATCH_MS))


def partial(identity, otlp):
    """What has been open for a while is told of in log records, again and again until it ends."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk.resources import Resource
    from partial_span_processor import PartialSpanProcessor

    heartbeats = PartialSpanProcessor(
        # Whoever ends a span sends its last record, and so waits for the collector: never for long.
        OTLPLogExporter(endpoint=f"{otlp}/v1/logs", timeout=1),
        # Without the resource the records would come from nobody.
        resource=Resource.create(identity),
        # All three are 5 s otherwise. A span is taken to have ended when three heartbeats are missing.
        initial_heartbeat_delay_millis=BATCH_MS,
        heartbeat_interval_millis=1000,
        process_interval_millis=BATCH_MS,
    )
    # What is over before its first heartbeat is seen by its end only.
    provide(identity, heartbeats, ended(otlp))


def with_logfire(identity, otlp):
    """Of every span a second one, that ends at once, says that the first has started."""
    import os

    import logfire

    def keep_names(match):
        # Scrubbing would make one name of any two with, say, "session" in them: they would be one resource.
        if match.path[1].startswith("standoff."):
            return match.value

    os.environ.setdefault("OTEL_BSP_SCHEDULE_DELAY", str(BATCH_MS))
    logfire.configure(
        service_name=identity["service.name"],
        resource_attributes=identity,
        # Not to Logfire, but to the collector, which asks for no token.
        advanced=logfire.AdvancedOptions(base_url=otlp),
        send_to_logfire=True,
        token="none",
        scrubbing=logfire.ScrubbingOptions(callback=keep_names),
        distributed_tracing=True,
        metrics=False,
        console=False,
    )


def stock(identity, otlp):
    """Spans that have ended, as everybody sends them."""
    provide(identity, ended(otlp))


def ended(otlp):
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{otlp}/v1/traces"), schedule_delay_millis=BATCH_MS)


def provide(identity, *processors):
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider(resource=Resource.create(identity))
    for processor in processors:
        provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)


WAYS = {"live": live, "partial": partial, "logfire": with_logfire, "stock": stock}
