"use client";
import { useEffect, useRef, useState } from "react";
import type { Query } from "../lib/task-list";
import { PRIORITIES } from "./fields";

const STATUSES = { all: "All", pending: "Open", completed: "Done" };
const ORDERS = {
  "created desc": "Newest first", "created asc": "Oldest first", "due_date asc": "Due first", "priority desc": "Most urgent first",
  "updated desc": "Changed last", "title asc": "By title",
};

export function Filters({ query, show }: { query: Query; show: (query: Query) => void }) {
  const [text, setText] = useState(query.q);
  const current = useRef(query);
  current.current = query;

  useEffect(() => setText((text) => (text.trim() === query.q ? text : query.q)), [query.q]); // keeps a space that was typed
  useEffect(() => {
    if (text.trim() === current.current.q) return;
    const timer = setTimeout(() => show({ ...current.current, q: text.trim() }), 250);
    return () => clearTimeout(timer);
  }, [text, show]);

  return (
    <form role="search" className="filters" aria-label="Filter" onSubmit={(event) => event.preventDefault()}>
      <div role="group" aria-label="Status" className="segments">
        {Object.entries(STATUSES).map(([status, name]) => (
          <button key={status} type="button" aria-pressed={query.status === status} onClick={() => show({ ...query, status })}>{name}</button>
        ))}
      </div>
      <input type="search" aria-label="Search" placeholder="Search" maxLength={200} value={text} onChange={(event) => setText(event.target.value)} />
      <select aria-label="Priority" value={query.priority} onChange={(event) => show({ ...query, priority: event.target.value })}>
        <option value="">Any priority</option>
        {PRIORITIES.map((each) => <option key={each} value={each}>{each[0]?.toUpperCase() + each.slice(1)}</option>)}
        <option value="none">No priority</option>
      </select>
      <select aria-label="Order" value={`${query.sort} ${query.order}`} onChange={(event) => {
        const [sort = "", order = ""] = event.target.value.split(" ");
        show({ ...query, sort, order: order as Query["order"] });
      }}>
        {Object.entries(ORDERS).map(([value, name]) => <option key={value} value={value}>{name}</option>)}
      </select>
      {query.tag && <button type="button" className="tag" onClick={() => show({ ...query, tag: "" })}>{query.tag} <span aria-hidden="true">✕</span><span className="sr"> (remove this filter)</span></button>}
    </form>
  );
}
