// Requests and replies over RabbitMQ. Both sides have a span; these spans are all that standoff needs to know.

import { randomUUID } from 'node:crypto';

import { ROOT_CONTEXT, SpanKind, SpanStatusCode, context, propagation, trace } from '@opentelemetry/api';
import amqp from 'amqplib';

const AMQP_URL = process.env.AMQP_URL ?? 'amqp://guest:guest@127.0.0.1:5672/%2f';
// Before the names of queues, so that systems that share a broker do not share queues.
const PREFIX = process.env.PREFIX ?? '';
const TIMEOUT_MS = Number(process.env.TIMEOUT_MS ?? 5_000);

// RabbitMQ's name for "on the channel that the request came from".
const DIRECT_REPLY_TO = 'amq.rabbitmq.reply-to';
// A queue that nobody uses for ten minutes goes.
const QUEUE = { durable: true, expires: 600_000 };
// So many requests a service takes before it has answered them.
const PREFETCH = 100;

/** What serves an id in each service, as one names it in both: by this name calls and those who answer them meet. */
const RESOURCES = {
  'service-a': (id) => `{:server_a, ${id}}`,
  'service-b': (id) => `{:server_b, ${id}}`,
};

export class Rpc {
  #pending = new Map();

  static async connect(tracer) {
    const rpc = new Rpc();
    rpc.tracer = tracer;
    rpc.connection = await amqp.connect(AMQP_URL);
    rpc.channel = await rpc.connection.createChannel();
    const take = (reply) => rpc.#pending.get(reply?.properties.correlationId)?.(reply.content.toString());
    await rpc.channel.consume(DIRECT_REPLY_TO, take, { noAck: true });
    return rpc;
  }

  async close() {
    await this.connection.close();
  }

  /** Asks `service` for `id`. */
  async ask(service, id) {
    // The call span is open for as long as we wait: from before the request leaves until its reply has come. That of a
    // library that only publishes is not.
    const span = this.tracer.startSpan(`ask ${service}`, {
      kind: SpanKind.CLIENT,
      attributes: {
        'standoff.target': RESOURCES[service](id),
        'standoff.timeout_ms': TIMEOUT_MS,
        'messaging.system': 'rabbitmq',
        'messaging.destination.name': PREFIX + service,
      },
    });
    // With its context in the message, whoever handles it is known to answer this call.
    const headers = {};
    propagation.inject(trace.setSpan(context.active(), span), headers);
    try {
      return await this.#reply(service, id, headers);
    } catch (error) {
      span.setAttribute('error.type', error.name);
      span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
      throw error;
    } finally {
      span.end();
    }
  }

  async #reply(service, id, headers) {
    await this.channel.assertQueue(PREFIX + service, QUEUE);
    const correlationId = randomUUID();
    let timer;
    const reply = new Promise((resolve, reject) => {
      this.#pending.set(correlationId, resolve);
      timer = setTimeout(() => reject(new Timeout()), TIMEOUT_MS);
    });
    this.channel.sendToQueue(PREFIX + service, Buffer.from(String(id)), {
      contentType: 'text/plain',
      correlationId,
      headers,
      replyTo: DIRECT_REPLY_TO,
      // One that has waited so long is not begun any more: its caller would give up in the middle of it.
      expiration: Math.floor(TIMEOUT_MS * 0.9),
    });
    try {
      return Number(await reply);
    } finally {
      clearTimeout(timer);
      this.#pending.delete(correlationId);
    }
  }

  /** Serves requests to `service`. For each id there is one server, which answers one request after the other. */
  async serve(service, answer) {
    const channel = await this.connection.createChannel();
    await channel.assertQueue(PREFIX + service, QUEUE);
    await channel.prefetch(PREFETCH);
    const turns = new Map();
    await channel.consume(PREFIX + service, (message) => {
      const id = Number(message.content.toString());
      const expires = Date.now() + Number(message.properties.expiration ?? TIMEOUT_MS);
      const turn = (turns.get(id) ?? Promise.resolve())
        .then(() => this.#handle(service, id, expires, message, answer))
        .then(
          (reply) => {
            const { correlationId, replyTo } = message.properties;
            channel.sendToQueue(replyTo, Buffer.from(String(reply)), { contentType: 'text/plain', correlationId });
            channel.ack(message);
          },
          (error) => {
            console.error(`${RESOURCES[service](id)} does not answer: ${error.message}`);
            channel.reject(message, false);
          },
        )
        .finally(() => turns.get(id) === turn && turns.delete(id));
      turns.set(id, turn);
    });
  }

  #handle(service, id, expires, message, answer) {
    if (Date.now() > expires) throw new Timeout();
    const caller = propagation.extract(ROOT_CONTEXT, message.properties.headers);
    // From here to the end of the span the server of this id is busy with this request, and so not free for others.
    const handling = { kind: SpanKind.CONSUMER, attributes: { 'standoff.resource': RESOURCES[service](id) } };
    return this.tracer.startActiveSpan(`serve ${service}`, handling, caller, async (span) => {
      try {
        return await answer(id);
      } catch (error) {
        span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
        throw error;
      } finally {
        span.end();
      }
    });
  }
}

/** Nobody has answered in time. */
export class Timeout extends Error {
  // What the semantic conventions call it in `error.type`.
  name = 'timeout';

  constructor() {
    super(`no reply within ${TIMEOUT_MS} ms`);
  }
}
