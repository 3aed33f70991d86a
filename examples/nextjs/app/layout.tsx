import type { Metadata, Viewport } from "next";
import { connection } from "next/server";
import type { ReactNode } from "react";
import { apiOrigin } from "../lib/api-origin";
import "./style.css";

export const metadata: Metadata = { title: "Tasks", description: "A to-do list." };
export const viewport: Viewport = { colorScheme: "light dark", themeColor: [
  { media: "(prefers-color-scheme: light)", color: "#f6f5f1" },
  { media: "(prefers-color-scheme: dark)", color: "#16181d" },
] };

export default async function Layout({ children }: { children: ReactNode }) {
  await connection(); // the variables of the running server, not those of the build
  return (
    <html lang="en" data-api={apiOrigin()}>
      <body>{children}</body>
    </html>
  );
}
