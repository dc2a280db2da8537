// ServiceB: its result for an id is twice the id, which it computes alone. For 42 it asks ServiceA: that is the mistake,
// since ServiceA's server for 42 is waiting for this very result.

import { run } from './service.js';

await run('service-b', async (rpc, id) => (id === 42 ? rpc.ask('service-a', id) : id * 2));
