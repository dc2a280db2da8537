// OpenTelemetry for a service, with start signals: what it exports says of each span when it has begun, too.

import { randomUUID } from 'node:crypto';

import { context, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';

/** Exports a span twice: when it starts, without an end time, and when it has ended. */
class LiveSpanProcessor extends BatchSpanProcessor {
  onStart(span, parentContext) {
    super.onStart(span, parentContext);
    // Only what the span has now is in its start signal: name, kind, and the attributes it was started with.
    this.onEnd(span);
  }
}

// A start signal must arrive well within the time that standoff waits before it believes a deadlock of services that it
// cannot ask, which is one second. The SDK's own choice for its batches is five.
const LIVE = { scheduledDelayMillis: 100 };

/**
 * Starts to export. The environment says where to and how: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL
 * (`http/protobuf` or `http/json`), and EXPORT (`live`, or `ended` for what the SDK does by itself).
 */
export function startTelemetry(serviceName) {
  const protocol = process.env.OTEL_EXPORTER_OTLP_PROTOCOL ?? 'http/protobuf';
  const exporter = protocol === 'http/json' ? new JsonExporter() : new ProtobufExporter();
  const processor = process.env.EXPORT === 'ended' ? new BatchSpanProcessor(exporter) : new LiveSpanProcessor(exporter, LIVE);

  const provider = new BasicTracerProvider({
    // Without an id of its own, a replica cannot be told from the others.
    resource: resourceFromAttributes({ 'service.name': serviceName, 'service.instance.id': randomUUID() }),
    spanProcessors: [processor],
  });
  trace.setGlobalTracerProvider(provider);
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  context.setGlobalContextManager(new AsyncLocalStorageContextManager());

  // Telemetry that nobody takes is no failure of the service.
  const stop = () => provider.shutdown().catch((error) => console.error(`nobody took the last spans: ${error.message}`));
  return { tracer: trace.getTracer('standoff-example'), stop };
}
