const dark = matchMedia("(prefers-color-scheme: dark)");
const followScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
followScheme();
dark.addEventListener("change", followScheme);

function subjectOf(token) {
  try {
    const bytes = atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0)))).sub;
  } catch {
    return undefined;
  }
}

// Whoever authorises need not type their user id into every path.
const fillUserId = (authorize, { specActions, specSelectors }) => (given) => {
  const result = authorize(given);
  const user = subjectOf(given.bearer?.value ?? "");
  for (const operation of user ? specSelectors.operations() : []) {
    const place = [operation.get("path"), operation.get("method")];
    if (place[0].includes("{user_id}")) {
      specActions.changeParam(place, "user_id", "path", user, false);
    }
  }
  return result;
};

SwaggerUIBundle({
  url: document.getElementById("page").dataset.document,
  dom_id: "#page",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  plugins: [{ statePlugins: { auth: { wrapActions: { authorize: fillUserId } } } }],
});
