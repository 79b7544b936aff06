// The picture of the story on a page: a path lights up under the pointer, a click chooses a name, a double click opens it.
// The drawing comes as a whole SVG from Python, parsed as XML, so that no label can be more than text.
const CLICK_MS = 260;
const NARROW_PX = 600;
const ROW = '[class*="st-key-hold-"], [class*="st-key-follow-"]';

const words = (part, name) => (part.dataset[name] || "").split(" ").filter(Boolean);

function draw(root, data) {
  const view = root.querySelector(".view");
  // The picture of a phone is another one, not the same made smaller: its names must be readable.
  const isNarrow = view.clientWidth > 0 && view.clientWidth < NARROW_PX;
  const svg = isNarrow ? data.narrow : data.svg;
  if (root.drawn === svg) return;
  root.drawn = svg;
  const parsed = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
  if (parsed.nodeName !== "svg") { view.textContent = "The picture could not be drawn."; return; }
  const width = Number(parsed.getAttribute("width"));
  parsed.style.maxWidth = `${Math.round(width * 1.2)}px`;
  parsed.style.minWidth = isNarrow ? "0" : `${Math.round(width * 0.72)}px`;
  view.replaceChildren(document.importNode(parsed, true));
}

function light(root, paths, spots) {
  const lit = paths.size > 0 || spots.size > 0;
  root.classList.toggle("lit", lit);
  const near = new Set(spots);
  for (const link of root.querySelectorAll(".link")) {
    const touched = spots.size > 0 && !paths.size && (spots.has(link.dataset.start) || spots.has(link.dataset.end));
    const on = touched || words(link, "paths").some((path) => paths.has(path));
    link.classList.toggle("on", on);
    if (on) near.add(link.dataset.start).add(link.dataset.end);
  }
  for (const spot of root.querySelectorAll(".spot")) spot.classList.toggle("on", near.has(spot.dataset.spot));
  for (const row of document.querySelectorAll(ROW)) row.classList.toggle("kg-lit", paths.size > 0 && paths.has(pathOf(row)));
}

function pathOf(row) {
  const found = /st-key-(?:hold|follow)-([0-9a-f]+)/.exec(row.className);
  return found ? found[1] : "";
}

function lightPart(root, part) {
  if (!part) return light(root, new Set(), new Set());
  const paths = new Set(words(part, "paths"));
  const ends = part.classList.contains("spot") ? [part.dataset.spot] : [part.dataset.start, part.dataset.end];
  light(root, paths, new Set(paths.size ? [] : ends));
}

function choose(root, entity, spotId) {
  root.chosen = entity;
  root.at = spotId || null;
  for (const spot of root.querySelectorAll(".spot")) spot.classList.toggle("chosen", !!entity && spot.dataset.entity === entity);
}

function chosenPart(root) {
  // An entity may stand in several places; the one that was chosen last counts.
  const spots = [...root.querySelectorAll(".spot")].filter((spot) => spot.dataset.entity === root.chosen);
  return spots.find((spot) => spot.dataset.spot === root.at) || spots[0] || null;
}

function save(name, blob) {
  const link = document.createElement("a");
  link.download = name;
  link.href = URL.createObjectURL(blob);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function savePng(data) {
  const picture = new Image();
  const address = URL.createObjectURL(new Blob([data.svg], { type: "image/svg+xml" }));
  picture.onload = () => {
    const canvas = document.createElement("canvas");
    canvas.width = picture.width * 3;
    canvas.height = picture.height * 3;
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(address);
    canvas.toBlob((blob) => save(`${data.name}.png`, blob), "image/png");
  };
  picture.src = address;
}

export default function (component) {
  const { data, parentElement, setStateValue, setTriggerValue } = component;
  const root = parentElement.querySelector(".kg-story");
  const view = root.querySelector(".view");
  draw(root, data);
  // The page says what is chosen one run after a click; until it says something new, the click counts.
  const isNews = root.told !== data.chosen;
  root.told = data.chosen;
  choose(root, isNews ? data.chosen : root.chosen, root.at);
  root.querySelector(".hint").textContent = data.hint;
  view.setAttribute("aria-label", data.about);

  const report = (entity) => { if (data.reports) setStateValue("node", entity); };
  // What is opened is chosen, too.
  const open = (entity) => { report(entity); setTriggerValue("open", entity); };
  let waiting = 0;
  const part = (event) => event.target.closest && event.target.closest(".spot, .link");
  view.onmouseover = (event) => lightPart(root, part(event) || chosenPart(root));
  view.onmouseleave = () => lightPart(root, chosenPart(root));
  view.onclick = (event) => {
    const spot = event.target.closest(".spot");
    choose(root, spot && spot.dataset.entity, spot && spot.dataset.spot);
    lightPart(root, spot);
    clearTimeout(waiting);
    // A double click begins as a click; the page is asked to run once, not twice.
    if (spot) waiting = setTimeout(() => report(spot.dataset.entity), CLICK_MS);
  };
  view.ondblclick = (event) => {
    const spot = event.target.closest(".spot");
    clearTimeout(waiting);
    if (spot) { choose(root, spot.dataset.entity, spot.dataset.spot); open(spot.dataset.entity); }
  };
  view.onkeydown = (event) => {
    const spots = [...root.querySelectorAll(".spot")];
    const now = spots.indexOf(chosenPart(root));
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) {
      const next = spots[(now + step + spots.length) % spots.length];
      choose(root, next.dataset.entity, next.dataset.spot);
      lightPart(root, next);
      report(next.dataset.entity);
    } else if (event.key === "Enter" && now >= 0) open(spots[now].dataset.entity);
    else if (event.key === "Escape") { choose(root, null); lightPart(root, null); }
    else return;
    event.preventDefault();
  };

  root.querySelector(".svg").onclick = () => save(`${data.name}.svg`, new Blob([data.svg], { type: "image/svg+xml" }));
  root.querySelector(".png").onclick = () => savePng(data);
  root.querySelector(".full").onclick = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen());

  const watcher = new ResizeObserver(() => { draw(root, data); choose(root, root.chosen, root.at); });
  watcher.observe(view);

  // The rows of the list stand elsewhere on the page; a row under the pointer or with the focus lights its path.
  const over = (event) => {
    const row = event.target.closest && event.target.closest(ROW);
    if (row) light(root, new Set([pathOf(row)]), new Set());
  };
  const out = (event) => {
    if (event.target.closest && event.target.closest(ROW)) lightPart(root, chosenPart(root));
  };
  const listened = [["mouseover", over], ["focusin", over], ["mouseout", out], ["focusout", out]];
  for (const [name, listener] of listened) document.addEventListener(name, listener);
  return () => { watcher.disconnect(); for (const [name, listener] of listened) document.removeEventListener(name, listener); };
}
