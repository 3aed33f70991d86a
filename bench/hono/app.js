// The task API with Hono and node-postgres on Node.js, a common choice on Vercel.
// Only the constraints of the table validate input, and nothing is logged.

import { Hono } from "hono";
import { handle } from "hono/aws-lambda";
import { verify } from "hono/jwt";
import pg from "pg";

const COLUMNS = "id, user_id, title, description, completed, created_at, updated_at";
const LIST = `SELECT ${COLUMNS} FROM tasks WHERE user_id = $1 ORDER BY created_at DESC, id DESC`;
const PAGE = `${LIST} LIMIT $2 OFFSET $3`;
const GET = `SELECT ${COLUMNS} FROM tasks WHERE user_id = $1 AND id = $2`;
const CREATE = `INSERT INTO tasks (user_id, title, description) VALUES ($1, $2, $3) RETURNING ${COLUMNS}`;
const TOGGLE = `UPDATE tasks SET completed = NOT completed, updated_at = now()
WHERE user_id = $1 AND id = $2 RETURNING ${COLUMNS}`;

pg.types.setTypeParser(pg.types.builtins.INT8, Number);
const pool = new pg.Pool({
  connectionString: process.env.DATABASE_URL,
  max: process.env.VERCEL ? 8 : 1,
});

const app = new Hono();

app.use("/api/:user/*", async (c, next) => {
  const token = (c.req.header("authorization") ?? "").replace(/^Bearer /, "");
  let claims;
  try {
    claims = await verify(token, process.env.BETTER_AUTH_SECRET, "HS256");
  } catch {
    return c.json({ detail: "A bearer token is required." }, 401);
  }
  if (claims.sub !== c.req.param("user")) return c.json({ detail: "The path belongs to another user." }, 403);
  c.set("owner", claims.sub);
  await next();
});

app.get("/api/:user/tasks", async (c) => {
  const limit = c.req.query("limit");
  const { rows } = limit
    ? await pool.query(PAGE, [c.get("owner"), limit, c.req.query("offset") ?? 0])
    : await pool.query(LIST, [c.get("owner")]);
  return c.json(rows);
});

app.post("/api/:user/tasks", async (c) => {
  const task = await c.req.json();
  const { rows } = await pool.query(CREATE, [c.get("owner"), task.title, task.description]);
  return c.json(rows[0], 201);
});

app.get("/api/:user/tasks/:id", async (c) => only(c, GET));
app.patch("/api/:user/tasks/:id/complete", async (c) => only(c, TOGGLE));

async function only(c, statement) {
  const { rows } = await pool.query(statement, [c.get("owner"), c.req.param("id")]);
  return rows.length ? c.json(rows[0]) : c.json({ detail: "Task not found." }, 404);
}

export { app };
export const lambda_handler = handle(app);
