// Kept on every page: tells screen readers of a job's end, shows its result on a phone, and notices another theme.
const NARROW_PX = 640;
const RESULT = ".st-key-edit-now";

function showResult() {
  // On a phone the progress and the result stand below the button that was pressed.
  const place = document.querySelector(RESULT);
  if (!place || window.innerWidth > NARROW_PX) return;
  const isCalm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  place.scrollIntoView({ block: "start", behavior: isCalm ? "auto" : "smooth" });
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
  return () => watcher.disconnect();
}
