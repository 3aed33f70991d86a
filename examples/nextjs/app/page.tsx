import { headers } from "next/headers";
import { Account } from "../components/account";
import { Tasks } from "../components/tasks";
import { auth } from "../lib/auth";
import { isDemo } from "../lib/demo";

export default async function Page() {
  const session = await auth.api.getSession({ headers: await headers() });
  const demo = isDemo();
  if (!session) return <Account demo={demo} />;
  const { id, name, email } = session.user;
  return <Tasks key={id} user={{ id, name, email }} demo={demo} />;
}
