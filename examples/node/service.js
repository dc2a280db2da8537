// What both services are besides what they answer.

import { Rpc } from './rpc.js';
import { startTelemetry } from './telemetry.js';

/** Runs a service until it is told to end. `answer` gets the way to others and an id. */
export async function run(service, answer) {
  const telemetry = startTelemetry(service);
  const rpc = await Rpc.connect(telemetry.tracer);
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, async () => {
      await rpc.close();
      await telemetry.stop();
      process.exit();
    });
  }
  await rpc.serve(service, (id) => answer(rpc, id));
  console.error(`${service} is ready`);
}
