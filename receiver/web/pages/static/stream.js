// Holds the one event stream that all windows of a browser share; it runs as a shared worker.
//
// Over HTTP/1.1 a browser opens six connections to a host, and a stream keeps one of them. If
// each window had its own, six windows would leave none for anything else. Where there are no
// shared workers, a window runs this for itself alone.
//
// A window that is visible says so every few seconds, and hears whether the stream is open, and
// when something has happened.

const FORGET_AFTER = 10_000;
const TRY_AGAIN_AFTER = 30_000; // what was refused
const DEAD_AFTER = 25_000; // without a beat, which comes every ten seconds

const followers = new Map(); // of each visible window: its port, and when it was heard last
let stream = null;
let heard; // when something came on the stream
let retry;

self.onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data }) => hear(port, data);
};

function hear(port, { isVisible, address }) {
  if (!isVisible) {
    followers.delete(port);
    closeUnlessFollowed();
    return;
  }
  const isNew = !followers.has(port);
  followers.set(port, performance.now());
  // Whoever has just signed in need not wait until what was refused is tried again.
  if (stream === null || (isNew && stream.readyState === EventSource.CLOSED)) open(address);
  port.postMessage({ isOpen: stream.readyState === EventSource.OPEN });
}

function open(address) {
  clearTimeout(retry);
  stream?.close();
  const opened = new EventSource(address);
  stream = opened;
  heard = performance.now();
  opened.onopen = () => {
    heard = performance.now();
    tell({ isOpen: true });
  };
  opened.onerror = () => {
    if (stream !== opened) return;
    tell({ isOpen: false });
    heard = performance.now(); // the browser tries again
    if (opened.readyState === EventSource.CLOSED) retry = setTimeout(() => open(address), TRY_AGAIN_AFTER);
  };
  opened.addEventListener("beat", () => {
    heard = performance.now();
  });
  opened.addEventListener("news", () => {
    heard = performance.now();
    tell({ isOpen: true, isNews: true });
  });
}

function tell(what) {
  for (const port of followers.keys()) port.postMessage(what);
}

function closeUnlessFollowed() {
  if (followers.size || stream === null) return;
  clearTimeout(retry);
  stream.close();
  stream = null;
}

// A window that crashed does not say that it is gone, and a network that was left does not say
// that it carries nothing any more.
setInterval(() => {
  const now = performance.now();
  for (const [port, when] of followers) if (now - when > FORGET_AFTER) followers.delete(port);
  closeUnlessFollowed();
  if (stream?.readyState !== EventSource.OPEN || now - heard < DEAD_AFTER) return;
  tell({ isOpen: false });
  open(stream.url);
}, FORGET_AFTER / 2);
