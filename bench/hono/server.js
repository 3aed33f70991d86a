// Serves the application to concurrent requests, as on Vercel.

import { serve } from "@hono/node-server";
import { app } from "./app.js";

serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.argv[2]) });
