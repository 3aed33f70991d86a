"""One process of a Python partner, told by its parent what to do; knows no partner.

    worker.py MODULE EVENTS cold NAME            import, answer one event, say what it cost
    worker.py MODULE EVENTS warm                 answer events as the lines on stdin ask
    worker.py MODULE EVENTS count NAME:TIMES...  under valgrind: count the instructions of each

Only modules that every partner needs anyway are imported before the partner's own.
"""

import json
import os
import sys
import time
from importlib import import_module


def main() -> None:
    module, file, mode, *rest = sys.argv[1:]
    # What partners log goes where Lambda would collect it; answers to the parent go elsewhere.
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    with open(file) as events_file:
        events = json.load(events_file)
    handler = import_module(module).lambda_handler
    {"cold": cold, "warm": warm, "count": count}[mode](handler, events, answers, *rest)
    # Leaving as usual would run every destructor, which no sandbox ever does.
    os._exit(0)


def cold(handler, events, answers, name):
    status = handler(events[name], None)["statusCode"]
    cpu, done = time.process_time(), time.monotonic()
    tell(answers, {"status": status, "cpu": cpu, "done": done, "rss": peak_memory()})


def warm(handler, events, answers):
    for line in sys.stdin:
        wanted, times = json.loads(line)
        event = events[wanted] if isinstance(wanted, str) else wanted
        walls = []
        began = time.process_time()
        for _ in range(times):
            wall = time.perf_counter()
            answer = handler(event, None)
            walls.append(time.perf_counter() - wall)
        cpu = (time.process_time() - began) / max(times, 1)
        tell(answers, {"cpu": cpu, "walls": walls, "answer": answer, "rss": peak_memory()})


def count(handler, events, answers, *wanted):
    ask_valgrind = valgrind_requests()
    plan = [(name, int(times)) for name, times in (item.split(":") for item in wanted)]
    for name, _ in plan:
        for _ in range(60):  # the interpreter specialises what runs often
            handler(events[name], None)
    for name, times in plan:
        event = events[name]
        ask_valgrind("start")
        for _ in range(times):
            handler(event, None)
        ask_valgrind("stop")
        ask_valgrind("dump", f"{name}:{times}")
        ask_valgrind("zero")
    tell(answers, {"status": 200})


def peak_memory() -> float:
    """In MB. Of this program only: what the parent held before it started us does not count."""
    with open("/proc/self/status") as status:
        [line] = [line for line in status if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def tell(answers, what):
    print(json.dumps(what), file=answers, flush=True)


def valgrind_requests():
    """A function that speaks to the callgrind we run under: it counts only between start and stop.

    Valgrind recognises a sequence of instructions that does nothing (valgrind.h, x86-64), with the
    address of the request in rax; so start-up and warming run at several times the speed.
    """
    import ctypes
    import mmap

    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("4889f831d248c1c70348c1c70d48c1c73d48c1c7334887db4889d0c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    call = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)(address)
    numbers = {"zero": 1, "dump": 3, "start": 4, "stop": 5}
    kept = [code]

    def ask(request: str, text: str = "") -> None:
        label = ctypes.create_string_buffer(text.encode())
        tool = (ord("C") << 24) + (ord("T") << 16)
        arguments = (ctypes.c_ulong * 6)(tool + numbers[request], ctypes.addressof(label))
        call(ctypes.addressof(arguments))
        kept[1:] = [label, arguments]

    return ask


if __name__ == "__main__":
    main()
