// Loaded into serverless-offline by dev/offline.py. The emulator starts Python through a shell and
// does not quote the path of its own script, so it fails where that path contains a space or another
// character of the shell's. Without a shell the arguments arrive as they are.
import childProcess from "node:child_process";
import { syncBuiltinESMExports } from "node:module";

const { spawn } = childProcess;

childProcess.spawn = (command, args, options) => {
  const startsPython = Array.isArray(args) && args.some((word) => word.endsWith("invoke.py"));
  return spawn(command, args, startsPython ? { ...options, shell: false } : options);
};
syncBuiltinESMExports();
