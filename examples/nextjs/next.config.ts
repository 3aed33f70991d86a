import type { NextConfig } from "next";

const config: NextConfig = {
  poweredByHeader: false,
  turbopack: { root: import.meta.dirname }, // not the folder of the API's package-lock.json
  outputFileTracingRoot: import.meta.dirname,
};

export default config;
