// Makes a page look as old as it is while the receiver cannot be reached.
//
// Rows are grey, and the title, the icon and a line at the top say that nothing is known any more.
// A link then leads to the browser's own error page, and what was open here would be gone; so it
// is followed only if there is an answer. A form that cannot be sent stays as it was filled in.

const PATIENCE = 5_000;
const SAYS = {
  lost: ["Disconnected", "Disconnected: the receiver cannot be reached."],
  away: ["No data", "No data: the receiver cannot read its database."],
};

const line = document.getElementById("lost");
const icon = document.querySelector('link[rel="icon"]');
const usual = { title: "", icon: "" };
let isLost = false;

// It could not be fetched any more when it is needed.
if (icon.dataset.lost) new Image().src = icon.dataset.lost;

document.addEventListener("fleet:connection", ({ detail: { state } }) => {
  const wasLost = isLost;
  isLost = state in SAYS;
  document.documentElement.toggleAttribute("data-lost", isLost);
  if (!wasLost && isLost) begin();
  if (wasLost && !isLost) end();
  if (!isLost) return;
  document.title = `${SAYS[state][0]} · ${usual.title}`;
  line.querySelector(".why").textContent = SAYS[state][1];
});

function begin() {
  usual.title = document.title;
  usual.icon = icon.href;
  icon.href = icon.dataset.lost;
  line.querySelector(".not").textContent = "";
  line.hidden = false;
}

function end() {
  document.title = usual.title;
  icon.href = usual.icon;
  line.hidden = true;
}

line?.querySelector("button").addEventListener("click", () => dispatchEvent(new Event("fleet:try")));

// Links and forms

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  const opensHere = event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey);
  if (!isLost || !link || !isHere(link) || !opensHere || event.defaultPrevented) return;
  event.preventDefault();
  follow(link.href);
});

// Another script wants to open a page.
document.addEventListener("fleet:go", (event) => {
  if (!isLost) return;
  event.preventDefault();
  follow(event.detail.url);
});

async function follow(url) {
  refuse("");
  try {
    await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    location.assign(url);
  } catch {
    refuse("The link was not followed.");
  }
}

document.addEventListener("submit", (event) => {
  if (!isLost || event.target.method === "dialog") return;
  event.preventDefault();
  refuse("The form was not sent.");
}, { capture: true });

function isHere(link) {
  return link.origin === location.origin && link.getAttribute("href")[0] !== "#";
}

function refuse(text) {
  line.querySelector(".not").textContent = text;
}
