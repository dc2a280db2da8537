"""ServiceA and ServiceB, which deadlock when ServiceA is asked for 42; and somebody who asks.

ServiceA's result for an id is ServiceB's plus one. ServiceB's is twice the id, which it computes alone; but for 42 it asks
ServiceA. That is the mistake: ServiceA is waiting for this very result.
"""

import argparse
import signal
import sys
import time
import uuid

import telemetry
from rpc import Rpc


def main():
    options = arguments()
    telemetry.start(options.telemetry, options.role, options.instance_id, options.otlp)
    rpc = Rpc(options.amqp, options.prefix, options.timeout)
    if options.role == "service-a":
        rpc.serve("service-a", lambda id: rpc.ask("service-b", id) + 1)
    elif options.role == "service-b":
        rpc.serve("service-b", lambda id: rpc.ask("service-a", id) if id == 42 else 2 * id)
    else:
        sys.exit(load(rpc, options.load) if options.load else request(rpc, options.ids))


def request(rpc, ids):
    """Asks ServiceA for each of the ids."""
    failed = 0
    for id in ids:
        try:
            print(f"{id}: {rpc.ask('service-a', id)}", flush=True)
        except TimeoutError as error:
            print(f"{id}: {error}", flush=True)
            failed += 1
    return 1 if failed else 0


def load(rpc, seconds):
    """Asks ServiceA a hundred times a second for ids that do no harm."""
    begun = time.monotonic()
    for number in range(100 * seconds):
        rpc.ask("service-a", 1000 + number % 1000)
        time.sleep(max(0, begun + number / 100 - time.monotonic()))
    return 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("role", choices=["service-a", "service-b", "request"])
    parser.add_argument("ids", nargs="*", type=int, help="what to request")
    parser.add_argument("--telemetry", choices=telemetry.WAYS, default="live")
    parser.add_argument("--otlp", default="http://127.0.0.1:4318", help="where the collector takes OTLP over HTTP")
    parser.add_argument("--amqp", default="amqp://guest:guest@127.0.0.1:5672/%2f", help="the broker")
    parser.add_argument("--prefix", default="", help="what the names of the queues begin with")
    parser.add_argument("--timeout", type=float, default=5, help="after how many seconds a caller gives up")
    parser.add_argument("--load", type=int, metavar="SECONDS", help="request again and again, for so long")
    parser.add_argument("--instance-id", default=str(uuid.uuid4()), help="what this copy of the service is called")
    return parser.parse_args()


if __name__ == "__main__":
    # Ends in good order, so that what there is still to tell is told.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    main()
