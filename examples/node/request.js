// Asks ServiceA for ids, all at once: node request.js 7 42

import { Rpc } from './rpc.js';
import { startTelemetry } from './telemetry.js';

const telemetry = startTelemetry('requester');
const rpc = await Rpc.connect(telemetry.tracer);
const ids = process.argv.slice(2).map(Number);
const results = await Promise.allSettled(ids.map((id) => rpc.ask('service-a', id)));
results.forEach(({ value, reason }, place) => console.log(`${ids[place]}: ${value ?? reason.message}`));
await rpc.close();
await telemetry.stop();
process.exitCode = results.every(({ status }) => status === 'fulfilled') ? 0 : 1;
