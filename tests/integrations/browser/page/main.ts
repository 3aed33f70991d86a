// A small to-do page for the browser test. It uses only the files that docs/client.md shows.
import { ApiError } from "../../../../examples/nextjs/lib/api-error";
import { authClient } from "../../../../examples/nextjs/lib/auth-client";
import * as tasks from "../../../../examples/nextjs/lib/tasks";
import { forgetToken } from "../../../../examples/nextjs/lib/token";

const find = <E extends HTMLElement>(selector: string) => document.querySelector(selector) as E;
const list = find<HTMLUListElement>("#tasks");
const account = find<HTMLFormElement>("#account");
const newTask = find<HTMLFormElement>("#new");

// The test waits for the message, which is set after the action and the update of the page.
async function run(name: string, action: () => Promise<void>): Promise<void> {
  find("#message").textContent = `${name} ...`;
  try {
    await action();
    find("#message").textContent = `${name}: done`;
  } catch (error) {
    const status = error instanceof ApiError ? ` ${error.status}` : "";
    find("#message").textContent = `${name}: failed${status}: ${(error as Error).message}`;
  }
}

function button(name: string, onClick: () => void): HTMLButtonElement {
  const made = document.createElement("button");
  made.textContent = name;
  made.addEventListener("click", onClick);
  return made;
}

function show(task: tasks.Task): HTMLLIElement {
  const item = document.createElement("li");
  const done = document.createElement("input");
  const title = document.createElement("input");
  item.dataset.id = String(task.id);
  done.type = "checkbox";
  done.checked = task.completed;
  title.value = task.title;
  done.addEventListener("click", () => run("Toggle", async () => void item.replaceWith(show(await tasks.toggleTask(task.id)))));
  const save = () =>
    run("Save", async () => {
      const { etag } = await tasks.getTask(task.id);
      if (!etag) throw new Error("The page cannot read the ETag.");
      item.replaceWith(show(await tasks.editTask(task.id, { title: title.value }, etag)));
    });
  const remove = () =>
    run("Delete", async () => {
      await tasks.deleteTask(task.id);
      item.remove();
    });
  item.append(done, title, button("Save", save), button("Delete", remove));
  return item;
}

const reload = async () => list.replaceChildren(...(await tasks.listTasks({ sort: "created", order: "asc" })).map(show));

async function enter(how: "sign-up" | "sign-in"): Promise<void> {
  const field = (name: string) => (account.elements.namedItem(name) as HTMLInputElement).value;
  const [name, email, password] = [field("name"), field("email"), field("password")];
  const { data, error } =
    how === "sign-up" ? await authClient.signUp.email({ name, email, password }) : await authClient.signIn.email({ email, password });
  if (error) throw new Error(error.message);
  forgetToken();
  find("#who").textContent = data.user.email;
  await reload();
}

async function leave(): Promise<void> {
  await authClient.signOut();
  forgetToken();
  list.replaceChildren();
  find("#who").textContent = "Signed out";
}

account.addEventListener("submit", (event) => {
  event.preventDefault();
  const how = (event.submitter as HTMLButtonElement).name as "sign-up" | "sign-in";
  void run(how === "sign-up" ? "Sign up" : "Sign in", () => enter(how));
});
(account.elements.namedItem("sign-out") as HTMLElement).addEventListener("click", () => run("Sign out", leave));
newTask.addEventListener("submit", (event) => {
  event.preventDefault();
  const title = (newTask.elements.namedItem("title") as HTMLInputElement).value;
  void run("Add", async () => list.append(show(await tasks.createTask({ title }))));
});
(newTask.elements.namedItem("reload") as HTMLElement).addEventListener("click", () => run("Reload", reload));

// For steps without a button, such as concurrent calls.
Object.assign(window, { tasks, forgetToken });
