// lib/due-date.ts: due dates in the time zone of the person. A date has none; a date-time is an instant.
const DATE = /^\d{4}-\d\d-\d\d$/;

const twoDigits = (value: number) => String(value).padStart(2, "0");
const dayOf = (at: Date) => `${String(at.getFullYear()).padStart(4, "0")}-${twoDigits(at.getMonth() + 1)}-${twoDigits(at.getDate())}`;

/** The values of a date field and a time field, in the time zone of this device. */
export function toFields(due: string | null): { date: string; time: string } {
  if (!due || DATE.test(due)) return { date: due ?? "", time: "" };
  const at = new Date(due);
  return { date: dayOf(at), time: `${twoDigits(at.getHours())}:${twoDigits(at.getMinutes())}` };
}

/** The due date for the API: null, a date, or an instant in UTC. */
export function fromFields(date: string, time: string): string | null {
  if (!date) return null;
  return time ? new Date(`${date}T${time}`).toISOString() : date;
}

/** Such as "Today", "Tomorrow, 18:30" or "24 Dec". */
export function describeDue(due: string, now = new Date()): string {
  const { date, time } = toFields(due);
  const at = new Date(`${date}T${time || "12:00"}`);
  const days = Math.round((new Date(`${date}T12:00`).getTime() - new Date(`${dayOf(now)}T12:00`).getTime()) / 86_400_000);
  const near: Record<number, string> = { [-1]: "Yesterday", 0: "Today", 1: "Tomorrow" };
  const year = at.getFullYear() === now.getFullYear() ? undefined : "numeric";
  const day = near[days] ?? at.toLocaleDateString(undefined, { weekday: Math.abs(days) < 7 ? "short" : undefined, day: "numeric", month: "short", year });
  return time ? `${day}, ${at.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" })}` : day;
}

/** Whether the instant has passed, or the day has ended where the person is. */
export function isOverdue(due: string, now = new Date()): boolean {
  return DATE.test(due) ? due < dayOf(now) : new Date(due) < now;
}

/** The date that is this many days from today. */
export function inDays(days: number, now = new Date()): string {
  return dayOf(new Date(now.getFullYear(), now.getMonth(), now.getDate() + days));
}
