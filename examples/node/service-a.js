// ServiceA: its result for an id is ServiceB's result plus one.

import { run } from './service.js';

await run('service-a', async (rpc, id) => (await rpc.ask('service-b', id)) + 1);
