// The same application as a server of many requests at once, as Vercel runs it.

import { serve } from "@hono/node-server";
import { app } from "./app.js";

serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.argv[2]) });
