"""Runs a Python implementation in a process of its own and reports its cost as JSON lines.

    worker.py MODULE EVENTS cold NAME            import, handle one event, report the cost
    worker.py MODULE EVENTS warm                 handle the events that the lines of stdin name
    worker.py MODULE EVENTS count NAME:TIMES...  under valgrind: count the instructions per event

It imports only modules that every implementation needs, so that it adds nothing to a cold start.
"""

import json
import os
import sys
import time
from importlib import import_module


def main() -> None:
    module, file, mode, *rest = sys.argv[1:]
    # Logs of the implementation must not mix with the results for the parent process.
    results = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    with open(file) as events_file:
        events = json.load(events_file)
    handler = import_module(module).lambda_handler
    {"cold": cold, "warm": warm, "count": count}[mode](handler, events, results, *rest)
    # A normal exit would run destructors, which a Lambda sandbox never does.
    os._exit(0)


def cold(handler, events, results, name):
    status = handler(events[name], None)["statusCode"]
    cpu, done = time.process_time(), time.monotonic()
    write_result(results, {"status": status, "cpu": cpu, "done": done, "rss": peak_memory()})


def warm(handler, events, results):
    for line in sys.stdin:
        wanted, times = json.loads(line)
        event = events[wanted] if isinstance(wanted, str) else wanted
        wall_times = []
        began = time.process_time()
        for _ in range(times):
            sent = time.perf_counter()
            response = handler(event, None)
            wall_times.append(time.perf_counter() - sent)
        cpu = (time.process_time() - began) / max(times, 1)
        write_result(
            results,
            {"cpu": cpu, "wall_times": wall_times, "response": response, "rss": peak_memory()},
        )


def count(handler, events, results, *wanted):
    send_to_valgrind = valgrind_requests()
    plan = [(name, int(times)) for name, times in (item.split(":") for item in wanted)]
    for name, _ in plan:
        for _ in range(60):  # warm-up: the interpreter specializes bytecode that runs often
            handler(events[name], None)
    for name, times in plan:
        event = events[name]
        send_to_valgrind("start")
        for _ in range(times):
            handler(event, None)
        send_to_valgrind("stop")
        send_to_valgrind("dump", f"{name}:{times}")
        send_to_valgrind("zero")
    write_result(results, {"status": 200})


def peak_memory() -> float:
    """Return the peak memory of this process in MB, without that of its parent before the fork."""
    with open("/proc/self/status") as status:
        [line] = [line for line in status if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def write_result(results, result):
    print(json.dumps(result), file=results, flush=True)


def valgrind_requests():
    """Return a function that sends commands to callgrind, which counts between start and stop.

    Valgrind recognizes a sequence of instructions that has no other effect (valgrind.h, x86-64),
    with the address of the request in rax. Without counting, start and warm-up are much faster.
    """
    import ctypes
    import mmap

    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("4889f831d248c1c70348c1c70d48c1c73d48c1c7334887db4889d0c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    call = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)(address)
    numbers = {"zero": 1, "dump": 3, "start": 4, "stop": 5}
    kept = [code]  # callgrind reads this memory later

    def send(request: str, text: str = "") -> None:
        label = ctypes.create_string_buffer(text.encode())
        tool = (ord("C") << 24) + (ord("T") << 16)
        arguments = (ctypes.c_ulong * 6)(tool + numbers[request], ctypes.addressof(label))
        call(ctypes.addressof(arguments))
        kept[1:] = [label, arguments]

    return send


if __name__ == "__main__":
    main()
