// Conveniences of reading: copying, choosing rows, and keys of the keyboard.

// Copying

// Puts a button after each `<code data-copy>`; it copies the value of the attribute, or else the
// text. The mark `data-added` keeps it when the page is renewed.
function addButtons() {
  for (const button of document.querySelectorAll("button.copy[data-added]")) {
    if (!button.previousElementSibling?.matches("code[data-copy]")) button.remove();
  }
  for (const code of document.querySelectorAll("code[data-copy]")) {
    if (code.nextElementSibling?.matches("button.copy[data-added]")) continue;
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "copy", textContent: "Copy" });
    button.dataset.added = "";
    button.setAttribute("aria-label", `Copy ${code.textContent.slice(0, 60)}`);
    code.after(button);
  }
}

async function copy(button, shown) {
  const text = shown.dataset.copy || shown.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    if (!copyInOldWay(text)) {
      getSelection().selectAllChildren(shown); // for the reader to copy
      return;
    }
  }
  button.textContent = "Copied";
  announce("Copied");
  setTimeout(() => {
    button.textContent = "Copy";
  }, 3_000);
}

// Over http, browsers have no clipboard for scripts, but this.
function copyInOldWay(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "unseen";
  document.body.append(field);
  const focused = document.activeElement;
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  focused?.focus({ preventScroll: true });
  return isCopied;
}

function announce(text) {
  const said = document.getElementById("said");
  if (said) said.textContent = text;
}

document.addEventListener("click", ({ target }) => {
  if (target.matches("button.copy[data-added]")) copy(target, target.previousElementSibling);
  if (target.dataset.copies) copy(target, document.getElementById(target.dataset.copies));
});

document.addEventListener("fleet:renewed", addButtons);
addButtons();

// Choosing rows of the list

const number = new Intl.NumberFormat("en");

// Says in the bar how many servers its buttons are about, and lets those be pressed that fit.
function tellChosen() {
  const bar = document.getElementById("ticked");
  if (!bar) return;
  const all = document.querySelector("#selection-all input");
  const boxes = [...document.querySelectorAll("input.pick")];
  if (all.checked) for (const each of boxes) each.checked = true; // those that came meanwhile, too
  const count = all.checked ? Number(all.dataset.total) : boxes.filter((each) => each.checked).length;
  const which = all.checked && count > 1 ? `All ${number.format(count)} are` : `${number.format(count)} ${count === 1 ? "is" : "are"}`;
  const text = count ? `${which} chosen:` : "With those ticked:";
  if (bar.textContent !== text) bar.textContent = text;
  for (const button of document.querySelectorAll("#selection button[name=do]")) {
    button.disabled = button.value === "compare" ? all.checked || count < 1 || count > 2 : !count;
  }
}

document.addEventListener("change", ({ target }) => {
  const all = document.querySelector("#selection-all input");
  if (target === all) for (const each of document.querySelectorAll("input.pick")) each.checked = all.checked;
  else if (target.matches("input.pick") && !target.checked) all.checked = false;
  else if (!target.matches("input.pick")) return;
  tellChosen();
});

document.addEventListener("fleet:renewed", tellChosen);
addEventListener("pageshow", tellChosen); // the browser keeps the ticks of a page to which it goes back
tellChosen();

// Keys

const KEY = "fleet-keys";
const help = document.getElementById("help");
const choice = document.getElementById("uses-keys");

function usesKeys() {
  try {
    return localStorage.getItem(KEY) !== "off";
  } catch {
    return true; // nothing is stored
  }
}

function isTyped(target) {
  return target.isContentEditable || /^(INPUT|SELECT|TEXTAREA)$/.test(target.nodeName);
}

// The rows of all lists of the page that have such, each by its first link.
function links() {
  const rows = [...document.querySelectorAll("[data-rows] > *")];
  return rows.map((row) => row.querySelector("a[href]")).filter((link) => link?.checkVisibility());
}

// Goes so many rows on, from where the focus is, or else to the first row that is in sight.
function walk(by) {
  const all = links();
  const row = document.activeElement.closest("[data-rows] > *");
  const here = all.findIndex((link) => row?.contains(link));
  const inSight = all.findIndex((link) => link.getBoundingClientRect().top >= 0);
  const next = all[here < 0 ? Math.max(inSight, 0) : here + by];
  next?.focus();
  return next !== undefined;
}

function search() {
  const field = document.querySelector("[data-search], input[type=search]");
  field?.focus();
  field?.select();
  return Boolean(field);
}

function openHelp() {
  if (!help) return false;
  choice.checked = usesKeys();
  help.showModal();
  return true;
}

const keys = { "/": search, "?": openHelp, j: () => walk(1), k: () => walk(-1), ArrowDown: () => walk(1), ArrowUp: () => walk(-1) };

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || help?.open) return;
  if (!(key in keys) || !usesKeys()) return;
  // In the field of a search, the arrow leads to what was found.
  const isSearch = target.type === "search" && key === "ArrowDown";
  if (isTyped(target) && !isSearch) return;
  if (keys[key]()) event.preventDefault();
});

document.getElementById("opens-help")?.addEventListener("click", openHelp);
choice?.addEventListener("change", () => {
  try {
    localStorage.setItem(KEY, choice.checked ? "on" : "off");
  } catch {
    choice.checked = true; // it cannot be remembered
  }
});
