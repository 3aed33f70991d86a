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

// Fills the user id of the token into every path.
const fillUserId = (authorize, { specActions, specSelectors }) => (credentials) => {
  const result = authorize(credentials);
  const user = subjectOf(credentials.bearer?.value ?? "");
  for (const operation of user ? specSelectors.operations() : []) {
    const position = [operation.get("path"), operation.get("method")];
    if (position[0].includes("{user_id}")) {
      specActions.changeParam(position, "user_id", "path", user, false);
    }
  }
  return result;
};

// Swagger UI focuses the last field of the dialog. The first one is for the user's token.
const focusFirstField = (showDefinitions) => (definitions) => {
  const result = showDefinitions(definitions);
  setTimeout(() => document.querySelector(".modal-ux .auth-container input")?.focus());
  return result;
};

const ui = SwaggerUIBundle({
  url: document.getElementById("page").dataset.document,
  dom_id: "#page",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  docExpansion: "none",
  onComplete: () => ui.layoutActions.show(["operations-tag", "tasks"], true),
  tryItOutEnabled: true,
  validatorUrl: null,
  plugins: [
    {
      statePlugins: {
        auth: { wrapActions: { authorize: fillUserId, showDefinitions: focusFirstField } },
      },
    },
  ],
});
