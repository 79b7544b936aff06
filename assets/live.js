// Kept on every page: tells screen readers of a job's end, shows its result on a phone, notices another theme, and gives
// widgets names without Markdown.
const NARROW_PX = 640;
const RESULT = ".st-key-edit-now";

function showResult() {
  // On a phone the progress and the result stand below the button that was pressed.
  const place = document.querySelector(RESULT);
  if (!place || window.innerWidth > NARROW_PX) return;
  const isCalm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  place.scrollIntoView({ block: "start", behavior: isCalm ? "auto" : "smooth" });
}

// The label of a widget is Markdown and its name for screen readers is the same text as it was written; what is read aloud
// must be what is seen: escaped signs as themselves, without emphasis, colours and icons.
const WRITTEN = /\\([!-/:-@[-`\x7b-~])|:material\/\w+:|:[a-z-]+\[|\*\*|\u2060/g;

function plain(label) {
  // A bracket that ends a colour is one that was not escaped.
  const isClosed = /:[a-z-]+\[/.test(label);
  return label.replace(isClosed ? /(?<!\\)\]/g : /$^/g, "").replace(WRITTEN, (_, sign) => sign || "").replace(/\s+/g, " ").trim();
}

function rename(parts) {
  for (const part of parts) {
    const label = part.getAttribute("aria-label");
    if (label && label.search(WRITTEN) >= 0) part.setAttribute("aria-label", plain(label));
  }
}

function renameAll(changes) {
  for (const change of changes) {
    if (change.type === "attributes") rename([change.target]);
    for (const node of change.addedNodes) {
      if (node.nodeType === 1) rename([node, ...node.querySelectorAll("[aria-label]")]);
    }
  }
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const region = parentElement.querySelector(".kg-live");
  // What had ended before the page was opened is no news.
  if (region.job !== undefined && region.job !== data.job) {
    region.textContent = data.said;
    setTimeout(showResult, 120);
  }
  region.job = data.job;

  // Figures and pictures have the colours of the theme in which the page was made.
  const app = document.querySelector('[data-testid="stApp"]');
  if (!app) return undefined;
  const look = () => {
    const theme = getComputedStyle(app).colorScheme;
    if (theme === data.theme || theme === region.asked || !["light", "dark"].includes(theme)) return;
    region.asked = theme;
    setTriggerValue("theme", theme);
  };
  if (getComputedStyle(app).colorScheme === data.theme) region.asked = undefined;
  const watcher = new MutationObserver(look);
  watcher.observe(app, { attributes: true, attributeFilter: ["class"] });
  look();
  rename(app.querySelectorAll("[aria-label]"));
  const namer = new MutationObserver(renameAll);
  namer.observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ["aria-label"] });
  return () => { watcher.disconnect(); namer.disconnect(); };
}
