// Asks ServiceA for ids that do no harm, so many a second for so many seconds: node load.js 100 60

import { Rpc } from './rpc.js';
import { startTelemetry } from './telemetry.js';

const [perSecond, seconds] = process.argv.slice(2).map(Number);
const telemetry = startTelemetry('requester');
const rpc = await Rpc.connect(telemetry.tracer);
const counts = { answered: 0, failed: 0 };
const asked = [];
const begun = Date.now();
const timer = setInterval(() => {
  // As many as are due by now: timers are late on a busy machine.
  const due = Math.min((Date.now() - begun) / 1_000, seconds) * perSecond;
  while (asked.length < due) {
    const id = 1_000 + (asked.length % 1_000);
    const one = rpc.ask('service-a', id);
    asked.push(one.then(() => (counts.answered += 1), () => (counts.failed += 1)));
  }
}, 10);
await new Promise((resolve) => setTimeout(resolve, seconds * 1_000 + 50));
clearInterval(timer);
await Promise.all(asked);
await rpc.close();
await telemetry.stop();
console.log(`${counts.answered} answered, ${counts.failed} failed`);
process.exitCode = counts.failed === 0 ? 0 : 1;
