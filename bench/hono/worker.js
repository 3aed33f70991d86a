// The Node.js version of ../worker.py, with the same commands and results.

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
const writeResult = (result) => fs.writeSync(1, `${JSON.stringify(result)}\n`);

if (mode === "cold") {
  const { statusCode } = await handler(events[name], context);
  writeResult({ status: statusCode, cpu: cpu(), done: Number(process.hrtime.bigint()) / 1e9, rss: peakMemory() });
} else {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [wanted, times] = JSON.parse(line);
    const wallTimes = [];
    const event = typeof wanted === "string" ? events[wanted] : wanted;
    let response;
    const began = cpu();
    for (let i = 0; i < times; i++) {
      const wall = process.hrtime.bigint();
      response = await handler(event, context);
      wallTimes.push(Number(process.hrtime.bigint() - wall) / 1e9);
    }
    writeResult({ cpu: (cpu() - began) / Math.max(times, 1), wall_times: wallTimes, response, rss: peakMemory() });
  }
}
process.reallyExit(0);
