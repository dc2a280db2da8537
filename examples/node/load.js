// Asks ServiceA for ids that do no harm, so many a second for so many seconds: node load.js 100 60

import { Rpc } from './rpc.js';
import { startTelemetry } from './telemetry.js';

const [perSecond, seconds] = process.argv.slice(2).map(Number);
const telemetry = startTelemetry('requester');
const rpc = await Rpc.connect(telemetry.tracer);
// On a machine that cannot do as many, no more than these wait at a time.
const WAITING_MAX = 10;
const counts = { asked: 0, answered: 0, failed: 0 };
const waiting = new Set();

function ask() {
  counts.asked += 1;
  const one = rpc.ask('service-a', 1_000 + (counts.asked % 1_000)).then(
    () => (counts.answered += 1),
    () => (counts.failed += 1),
  );
  waiting.add(one);
  one.finally(() => waiting.delete(one));
}

const begun = Date.now();
const timer = setInterval(() => {
  const due = ((Date.now() - begun) / 1_000) * perSecond;
  while (counts.asked < due && waiting.size < WAITING_MAX) ask();
}, 10);
await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
clearInterval(timer);
await Promise.all(waiting);
await rpc.close();
await telemetry.stop();
console.log(`${counts.answered} answered, ${counts.failed} failed`);
process.exitCode = counts.failed === 0 ? 0 : 1;
