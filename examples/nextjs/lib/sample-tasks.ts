// lib/sample-tasks.ts: the tasks of the demo.
import { fromFields, inDays } from "./due-date";
import { withRetries } from "./retry";
import { call, createTask, listTasks, type NewTask } from "./tasks";

function sampleTasks(): NewTask[] {
  return [
    { title: "Renew passport", description: "Two photos. The appointment takes twenty minutes.", priority: "high", due_date: inDays(12), tags: ["admin"] },
    { title: "Read “The Left Hand of Darkness”", priority: "low", tags: ["books"] },
    { title: "Book train tickets to Lisbon", description: "Window seats, if there are any.", due_date: inDays(6), tags: ["travel"] },
    { title: "Return library books", completed: true, due_date: inDays(-3), tags: ["books", "errands"] },
    { title: "Fix the dripping kitchen tap", description: "Washer: 15 mm.", priority: "medium", tags: ["home"] },
    { title: "Water the plants at number 14", due_date: inDays(2), tags: ["neighbours"] },
    { title: "Pay the electricity bill", priority: "urgent", due_date: inDays(-1), tags: ["admin", "home"] },
    { title: "Birthday present for Noor", description: "She liked the blue teapot.", priority: "high", due_date: inDays(4), tags: ["family"] },
    { title: "Run 5 km", completed: true, priority: "low", tags: ["health"] },
    { title: "Dentist", priority: "medium", due_date: fromFields(inDays(1), "08:30"), tags: ["health"] },
    { title: "Call grandma", priority: "medium", due_date: fromFields(inDays(0), "19:00"), tags: ["family"] },
    { title: "Buy oat milk, coffee and lemons", due_date: inDays(0), tags: ["errands"] },
  ];
}

/** Runs `change` when no other tab changes the sample data. */
const alone = (change: () => Promise<void>) => navigator.locks.request("sample-data", change);

/** Adds the sample tasks one after the other: the list is ordered by the time of creation. */
async function addAll(): Promise<void> {
  for (const task of sampleTasks()) {
    const key = crypto.randomUUID();
    await withRetries(() => createTask(task, key));
  }
}

async function addIfNew(): Promise<void> {
  const [tasks, trash] = await Promise.all([listTasks({ limit: "1" }), listTasks({ status: "deleted", limit: "1" })]);
  if (tasks.length === 0 && trash.length === 0) await addAll();
}

async function reset(): Promise<void> {
  for (let tasks = await listTasks({ limit: "100" }); tasks.length > 0; tasks = await listTasks({ limit: "100" })) {
    for (const { id } of tasks) await call("DELETE", `/${id}?permanent=true`);
  }
  await addAll();
}

/** Adds the sample tasks for a user who has never had a task. */
export const addSampleTasksOnce = () => alone(addIfNew);

/** Erases all tasks of the user, and adds the sample tasks. */
export const resetSampleTasks = () => alone(reset);
