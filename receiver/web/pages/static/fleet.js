// Keeps an open page as the fleet is.
//
// The server renders; this asks it again when something has happened, and every few seconds
// for the ages, and changes in the page what has become different. So what the reader does
// there stays: the focus, what is unfolded, what is typed.

const EVERY = 10_000;
const EVERY_WHEN_LOST = 3_000;
const AFTER_NEWS = 4_000; // alarms follow events by a few seconds, and no news tells of them
const EVERY_WHEN_HIDDEN = 60_000;
const AT_MOST_EVERY = 500;
const SAY_EVERY = 2_000;
const DEAD_AFTER = 3; // unanswered messages

const words = {
  live: "Live",
  polling: "Every 10 s",
  lost: "Lost, trying again",
};

const { stream: address, kinds, worker } = document.body.dataset;
const connection = document.getElementById("connection");

let port = null; // to who holds the event stream
let unanswered = 0;
let talk;
let isStreaming = false;
let isReachable = true;
let isAsking = false;
let hasNews = false; // since the page was last asked for
let askAgain = false;
let lastAsked = -Infinity;
let due = Infinity;
let timer;

function show() {
  const state = !isReachable ? "lost" : isStreaming ? "live" : "polling";
  if (connection.dataset.state === state && !connection.hidden) return;
  connection.dataset.state = state;
  connection.textContent = words[state];
  connection.hidden = false;
}

// Asking

// Asks after so many milliseconds, or before that where it is due anyway.
function soon(wait) {
  const now = performance.now();
  const at = Math.max(now + wait, lastAsked + AT_MOST_EVERY);
  if (at >= due) return;
  clearTimeout(timer);
  due = at;
  timer = setTimeout(ask, at - now);
}

async function ask() {
  due = Infinity;
  if (isAsking) {
    askAgain = true;
    return;
  }
  isAsking = true;
  askAgain = false;
  lastAsked = performance.now();
  const asked = location.href;
  const wasNews = hasNews;
  hasNews = false;
  const page = await pageAt(asked);
  isAsking = false;
  isReachable = page !== null;
  show();
  soon(askAgain ? 0 : waitAfter(wasNews));
  if (isReachable && asked === location.href) renew(page);
}

function waitAfter(wasNews) {
  if (!isReachable) return EVERY_WHEN_LOST;
  if (document.hidden) return EVERY_WHEN_HIDDEN;
  return wasNews ? AFTER_NEWS : EVERY;
}

// The page as the server renders it now; null when there is no server, or another one.
async function pageAt(url) {
  try {
    const answer = await fetch(url, { cache: "no-store", headers: { Accept: "text/html" }, signal: AbortSignal.timeout(15_000) });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (page.body.dataset.stream === "") leave();
    return answer.status < 500 && page.body.dataset.stream === address ? page : null;
  } catch {
    return null;
  }
}

// Here is another page now, which stays as it is: the form to sign in with, for one.
function leave() {
  clearInterval(talk);
  hangUp();
  clearTimeout(timer);
  due = -Infinity; // nothing is asked any more
  location.reload();
}

// Listening

// A browser opens few connections to one host: all its windows follow one stream, which
// `stream.js` holds while one of them is visible.
function connect() {
  hangUp();
  unanswered = 0;
  if (!("SharedWorker" in window)) return runItHere();
  try {
    const shared = new SharedWorker(worker);
    shared.onerror = runItHere;
    listen(shared.port);
  } catch {
    runItHere();
  }
}

async function runItHere() {
  await import(new URL(worker, document.baseURI));
  const { port1, port2 } = new MessageChannel();
  self.onconnect({ ports: [port2] });
  listen(port1);
}

function listen(to) {
  port = to;
  port.onmessage = ({ data }) => {
    unanswered = 0;
    if (document.hidden) return;
    if (data.isNews) {
      hasNews = true;
      soon(100);
    }
    if (data.isOpen === isStreaming) return;
    isStreaming = data.isOpen;
    if (isStreaming) show();
    soon(0); // for what happened before it was open, or to see whether the receiver is there
  };
  say();
}

function say() {
  const stream = new URL(address, document.baseURI).href;
  port?.postMessage({ isVisible: !document.hidden, address: stream, kinds: kinds.split(" ") });
}

function hangUp() {
  port?.postMessage({ isVisible: false });
  port?.close();
  port = null;
  isStreaming = false;
}

// Who holds the stream may die with the window that it began in.
function keepTalking() {
  if (document.hidden) return;
  if (unanswered === DEAD_AFTER) return connect();
  unanswered += 1;
  say();
}

document.addEventListener("visibilitychange", () => {
  if (!talk) return;
  unanswered = 0;
  say();
  if (document.hidden) isStreaming = false;
  else soon(0);
});

// Changing the page

function renew(page) {
  const focused = document.activeElement;
  if (document.title !== page.title) document.title = page.title;
  for (const part of [".places", "#main"]) {
    become(document.querySelector(part), page.querySelector(part));
  }
  if (focused !== document.activeElement && focused?.isConnected) {
    focused.focus({ preventScroll: true });
  }
}

function become(old, wanted) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== wanted.nodeValue) old.nodeValue = wanted.nodeValue;
    return;
  }
  if ("still" in old.dataset) return; // it is the reader's
  takeAttributes(old, wanted);
  takeChildren(old, wanted);
}

function takeAttributes(old, wanted) {
  const wasIn = old.dataset.state;
  for (const { name } of [...old.attributes]) {
    if (!wanted.hasAttribute(name) && !isReaders(old, name)) old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (old.getAttribute(name) !== value && !isReaders(old, name)) old.setAttribute(name, value);
  }
  if (wasIn !== old.dataset.state) flash(old);
}

function isReaders(element, attribute) {
  return element.nodeName === "DETAILS" && attribute === "open";
}

function takeChildren(old, wanted) {
  const wantedKeys = new Set([...wanted.children].map(keyOf));
  const kept = new Map();
  for (const child of [...old.children]) {
    const key = keyOf(child);
    if (key && !wantedKeys.has(key)) child.remove();
    else if (key) kept.set(key, child);
  }
  let next = old.firstChild;
  for (const child of [...wanted.childNodes]) {
    const key = keyOf(child);
    const same = key ? kept.get(key) : isLike(next, child) ? next : null;
    if (!same) {
      const added = document.importNode(child, true);
      old.insertBefore(added, next);
      if (child.nodeName === "TR" || child.nodeName === "LI") flash(added);
      continue;
    }
    if (same === next) next = next.nextSibling;
    else old.insertBefore(same, next);
    become(same, child);
  }
  while (next) {
    const rest = next.nextSibling;
    next.remove();
    next = rest;
  }
}

function keyOf(node) {
  return node.dataset?.key || node.id;
}

function isLike(old, wanted) {
  return old !== null && old.nodeName === wanted.nodeName && !keyOf(old);
}

function flash(element) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  element.animate(
    [{ backgroundColor: getComputedStyle(element).getPropertyValue("--flash") }, {}],
    { duration: 2000, easing: "ease-out" },
  );
}

// Searching

function addressOf(form) {
  const said = [...new FormData(form)].filter(([name, text]) => text || name === "stage");
  const query = new URLSearchParams(said).toString();
  const path = form.getAttribute("action");
  return query ? `${path}?${query}` : path;
}

// The form may come later, when an empty fleet fills.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "get") return;
  event.preventDefault();
  location.assign(addressOf(event.target));
});

document.addEventListener("change", (event) => {
  if (event.target.nodeName === "SELECT" && event.target.form.method === "get") location.assign(addressOf(event.target.form));
});

document.addEventListener("input", (event) => {
  if (event.target.type !== "search") return;
  history.replaceState(null, "", addressOf(event.target.form));
  document.getElementById("servers")?.setAttribute("aria-busy", "true"); // until it is renewed
  soon(250);
});

// Keys that are shown once

document.addEventListener("click", async ({ target }) => {
  if (!target.dataset.copies) return;
  const shown = document.getElementById(target.dataset.copies);
  try {
    await navigator.clipboard.writeText(shown.textContent);
    target.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(shown); // for the reader to copy
  }
});

if (address) {
  connect();
  talk = setInterval(keepTalking, SAY_EVERY);
  soon(EVERY);
}
