// Runs transactions with Neon's own package. Reads {connectionString, endpoint, transactions} as JSON
// and prints, for each transaction, its results or its error.

import { neon, neonConfig } from "@neondatabase/serverless";

const { connectionString, endpoint, transactions } = JSON.parse(await new Response(process.stdin).text());
neonConfig.fetchEndpoint = () => endpoint;
const sql = neon(connectionString, { arrayMode: true, fullResults: true, isolationLevel: "ReadCommitted" });

const outcomes = [];
for (const queries of transactions) {
  try {
    const results = await sql.transaction(queries.map(({ query, params }) => sql.query(query, params)));
    outcomes.push({ rows: results.map((result) => result.rows) });
  } catch (error) {
    const names = ["message", "code", "severity", "table", "column", "constraint", "where"];
    outcomes.push({ error: Object.fromEntries(names.map((name) => [name, error[name] ?? null])) });
  }
}
console.log(JSON.stringify(outcomes));
