// Prints all tasks of a user as one JSON document: node docs/export.mjs URL TOKEN
const [url, token] = process.argv.slice(2);
const tasks = new Map();
let page = { next: "", more: true };
while (page.more) {
  const query = page.next && `?since=${encodeURIComponent(page.next)}`;
  const response = await fetch(`${url}/api/tasks/changes${query}`, { headers: { authorization: `Bearer ${token}` } });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  page = await response.json();
  for (const task of page.tasks) tasks.set(task.id, task);
  for (const id of page.deleted) tasks.delete(id);
}
console.log(JSON.stringify([...tasks.values()], null, 2));
