// Keeps an open page as the fleet is.
//
// The server renders; this asks it again when something has happened, and from time to time, and
// changes in the page what has become different. So what the reader does there stays: the focus,
// what is unfolded, what is typed. An answer holds only those blocks of the HTML that are new.
//
// Other scripts hear of it by events of the document: `fleet:renewed` after each answer, with the
// server's time, and `fleet:connection` when the connection has another state.

const EVERY = 40_000; // while the stream tells what happens
const EVERY_WITHOUT_STREAM = 30_000;
const EVERY_WHEN_LOST = [1_000, 2_000, 3_000, 5_000, 8_000];
const EVERY_WHEN_HIDDEN = 60_000;
const PATIENCE = 15_000; // for an answer
const SAY_EVERY = 2_000;
const DEAD_AFTER = 3; // unanswered messages

// What happens in quick succession is asked for a few times at once, and then now and then; the
// slower the server answers, the less often: it has heartbeats to take in.
const GATHER = 100; // news come in groups
const SPREAD = 300; // not all browsers ask at the same moment
const AT_MOST_EVERY = 1_000;
const AT_ONCE = 4;
const THEN_EVERY = 6_000;
const FOR_EACH_MS = 60; // of waiting for an answer
const AT_LEAST_EVERY = 30_000;

const { stream: address, worker } = document.body.dataset;
const connection = document.getElementById("connection");

let port = null; // to who holds the event stream
let unanswered = 0;
let talk;
let isStreaming = false;
let failures = 0; // answers in a row that did not come
let why = ""; // the last one did not
let isAsking = false;
let hasNews = false; // since the page was last asked for
let isUrgent = false; // somebody waits
let lastAsked = -Infinity;
let due = Infinity;
let timer;

const words = { live: "Live", polling: `Every ${EVERY_WITHOUT_STREAM / 1000} s`, lost: "Disconnected", away: "No data" };

function show() {
  const state = failures ? why : isStreaming ? "live" : "polling";
  if (connection.dataset.state === state && !connection.hidden) return;
  connection.dataset.state = state;
  connection.textContent = words[state];
  connection.hidden = false;
  tell("fleet:connection", { state });
}

function tell(name, detail) {
  document.dispatchEvent(new CustomEvent(name, { detail }));
}

// Asking

let allowance = AT_ONCE;
let allowedAt = performance.now();
let earning = THEN_EVERY;

function untilAllowed() {
  const now = performance.now();
  allowance = Math.min(AT_ONCE, allowance + (now - allowedAt) / earning);
  allowedAt = now;
  return allowance >= 1 ? 0 : (1 - allowance) * earning;
}

// Asks after so many milliseconds, or before that where it is due anyway.
function soon(wait) {
  const now = performance.now();
  const at = now + wait;
  if (at >= due) return;
  clearTimeout(timer);
  due = at;
  timer = setTimeout(ask, wait);
}

function urgently(wait) {
  isUrgent = true;
  soon(wait);
}

function soonForNews() {
  hasNews = true;
  const rest = lastAsked + AT_MOST_EVERY - performance.now();
  soon(Math.max(GATHER + Math.random() * SPREAD, rest, untilAllowed()));
}

async function ask() {
  due = Infinity;
  if (isAsking) return;
  isAsking = true;
  lastAsked = performance.now();
  if (hasNews) allowance -= 1;
  hasNews = isUrgent = false;
  const asked = location.href;
  const answer = await answerFor(asked);
  const cost = FOR_EACH_MS * (performance.now() - lastAsked);
  earning = Math.min(Math.max(THEN_EVERY, cost), AT_LEAST_EVERY);
  isAsking = false;
  why = answer.why;
  failures = why ? failures + 1 : 0;
  show();
  soon(isUrgent ? 0 : pause());
  if (hasNews) soonForNews();
  if (why || asked !== location.href) return;
  if (answer.page) renew(answer.page);
  document.getElementById("servers")?.removeAttribute("aria-busy");
  tell("fleet:renewed", { now: answer.now });
}

function pause() {
  if (document.hidden) return EVERY_WHEN_HIDDEN;
  if (failures) return EVERY_WHEN_LOST[Math.min(failures, EVERY_WHEN_LOST.length) - 1];
  return isStreaming ? EVERY : EVERY_WITHOUT_STREAM;
}

const salt = digits(crypto.getRandomValues(new Uint8Array(6)));
let blocks = new Map(); // of the page that was read last: its HTML in pieces, by their digests

function digits(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}

// What the server says now: `page`, unless it has stayed the same, and `why` there is none.
async function answerFor(url) {
  try {
    const answer = await fetch(url, {
      cache: "no-store",
      headers: { Accept: "text/html", "Fleet-Blocks": salt + [...blocks.keys()].join("") },
      signal: AbortSignal.timeout(PATIENCE),
    });
    if (answer.headers.get("Content-Type") !== "application/json") return { why: answer.status < 500 ? "lost" : "away" };
    const { now, blocks: told } = await answer.json();
    if (answer.status >= 500) return { why: "away" };
    if (told.length === 1 && told[0][0] === 0 && told[0][1] === blocks.size) return { why: "", now, page: null };
    const page = new DOMParser().parseFromString(assembled(told), "text/html");
    if (page.body.dataset.stream === "") leave();
    return page.body.dataset.stream === address ? { why: "", now, page } : { why: "lost" };
  } catch {
    return { why: "lost" };
  }
}

// The HTML of a page of which an answer tells the new blocks, and the places of those that are here.
function assembled(told) {
  const known = [...blocks];
  blocks = new Map();
  const texts = [];
  for (const [first, second] of told) {
    const these = typeof first === "string" ? [[first, second]] : known.slice(first, first + second);
    for (const [digest, text] of these) {
      blocks.set(digest, text);
      texts.push(text);
    }
  }
  return texts.join("");
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
    if (data.isNews) soonForNews();
    if (data.isOpen === isStreaming) return;
    isStreaming = data.isOpen;
    if (isStreaming && !failures) show();
    soonForNews(); // of before it was open, or to see whether the receiver is there
  };
  say();
}

function say() {
  const stream = new URL(address, document.baseURI).href;
  port?.postMessage({ isVisible: !document.hidden, address: stream });
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
  else urgently(0);
});

// The network went or came; what a person asks for is asked for at once.
for (const name of ["online", "offline", "fleet:try"]) {
  addEventListener(name, () => {
    if (talk) urgently(0);
  });
}

// Changing the page

function renew(page) {
  const focused = document.activeElement;
  document.title = page.title;
  for (const part of ['link[rel="icon"]', ".places", "#main"]) {
    const [old, wanted] = [document, page].map((each) => each.querySelector(part));
    if (old && wanted) become(old, wanted);
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
  if (old.nodeName !== "TIME") return takeChildren(old, wanted);
  if (old.textContent === "" || !isTold(old)) takeChildren(old, wanted);
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

// What is the reader's, or that of another script.
function isReaders(element, attribute) {
  if (element.nodeName === "TIME") return isTold(element) && (attribute === "title" || "now" in element.dataset);
  return element.nodeName === "DETAILS" && attribute === "open";
}

// Whether `times.js` says what time it is.
function isTold({ dataset }) {
  return ["ago", "at", "lasts", "now"].some((name) => name in dataset);
}

function takeChildren(old, wanted) {
  const wantedKeys = new Set([...wanted.children].map(keyOf));
  const kept = new Map();
  for (const child of [...old.children]) {
    if ("added" in child.dataset) continue;
    const key = keyOf(child);
    if (key && !wantedKeys.has(key)) child.remove();
    else if (key) kept.set(key, child);
  }
  let next = after(null, old);
  for (const child of [...wanted.childNodes]) {
    const key = keyOf(child);
    const same = key ? kept.get(key) : isLike(next, child) ? next : null;
    if (!same) {
      const added = document.importNode(child, true);
      old.insertBefore(added, next);
      if (child.nodeName === "TR" || child.nodeName === "LI") flash(added);
      continue;
    }
    if (same === next) next = after(next, old);
    else old.insertBefore(same, next);
    become(same, child);
  }
  while (next) {
    const rest = after(next, old);
    next.remove();
    next = rest;
  }
}

// The node after another one, or the first one, without what scripts have put there.
function after(node, parent) {
  let next = node ? node.nextSibling : parent.firstChild;
  while (next?.dataset?.added !== undefined) next = next.nextSibling;
  return next;
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

function go(url) {
  const asks = new CustomEvent("fleet:go", { cancelable: true, detail: { url } });
  if (document.dispatchEvent(asks)) location.assign(url);
}

// The form may come later, when an empty fleet fills.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "get" || event.defaultPrevented) return;
  event.preventDefault();
  go(addressOf(event.target));
});

document.addEventListener("change", ({ target }) => {
  if (target.nodeName === "SELECT" && target.form?.method === "get") go(addressOf(target.form));
});

document.addEventListener("input", (event) => {
  if (event.target.type !== "search") return;
  history.replaceState(null, "", addressOf(event.target.form));
  document.getElementById("servers")?.setAttribute("aria-busy", "true"); // until it is renewed
  urgently(250);
});

// Signing out

// Who signs out in one window is signed out in all, and what they show must not stay until they
// ask again: the form to sign in with tells them to ask now.
function askWhenSignedOut() {
  let windows;
  try {
    windows = new BroadcastChannel("fleet-signed-out");
  } catch {
    return; // the browser stores nothing, so nobody is signed in
  }
  if (document.getElementById("sign-in")) windows.postMessage(null);
  else if (address) windows.onmessage = () => urgently(0);
}

if (address) {
  connect();
  talk = setInterval(keepTalking, SAY_EVERY);
  soon(EVERY_WITHOUT_STREAM);
}
askWhenSignedOut();
