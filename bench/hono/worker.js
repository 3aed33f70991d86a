// ../worker.py for Node: the same commands, the same answers.

import fs from "node:fs";
import readline from "node:readline";

const [, , module, file, mode, name] = process.argv;
const events = JSON.parse(fs.readFileSync(file, "utf8"));
const { lambda_handler: handler } = await import(module);
const context = {};

const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};
const peakMemory = () =>
  Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1]) / 1024;
const tell = (what) => fs.writeSync(1, `${JSON.stringify(what)}\n`);

if (mode === "cold") {
  const { statusCode } = await handler(events[name], context);
  tell({ status: statusCode, cpu: cpu(), done: Number(process.hrtime.bigint()) / 1e9, rss: peakMemory() });
} else {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [wanted, times] = JSON.parse(line);
    const walls = [];
    const event = typeof wanted === "string" ? events[wanted] : wanted;
    let answer;
    const began = cpu();
    for (let i = 0; i < times; i++) {
      const wall = process.hrtime.bigint();
      answer = await handler(event, context);
      walls.push(Number(process.hrtime.bigint() - wall) / 1e9);
    }
    tell({ cpu: (cpu() - began) / Math.max(times, 1), walls, answer, rss: peakMemory() });
  }
}
process.reallyExit(0);
