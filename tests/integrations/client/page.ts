// The page of the browser test: it uses the files that docs/client.md shows.
import { readTask, saveTask } from "./lib/edit";
import { readPage } from "./lib/pages";
import { addTask, toggleTask } from "./lib/repeat";

async function work(): Promise<unknown[]> {
  const [first] = await Promise.all(Array.from({ length: 21 }, (_, number) => addTask(`Task ${number}`)));
  if (!first) throw new Error("The task was not created.");
  const mine = await readTask(first.id);
  const results = [await saveTask(await readTask(first.id), { title: "Theirs" }), await saveTask(mine, { title: "Mine" })];
  const toggled = await toggleTask(first.id);
  await toggleTask(first.id);
  const page = await readPage();
  const rest = await readPage(page.next);
  return [...results.map((result) => Object.keys(result)[0]), toggled.completed, page.tasks.length, rest.tasks.length, rest.next ?? "end"];
}

Object.assign(window, { work });
