// Holds the one event stream that all windows of a browser share; it runs as a shared worker.
//
// Over HTTP/1.1 a browser opens six connections to a host, and a stream keeps one of them. If
// each window had its own, six windows would leave none for anything else. Where there are no
// shared workers, a window runs this for itself alone.
//
// A window that is visible says so every few seconds, and hears whether the stream is open.

const FORGET_AFTER = 10_000;
const TRY_AGAIN_AFTER = 10_000;

const followers = new Map(); // of each visible window: its port, and when it was heard last
let stream = null;
let retry;

self.onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data }) => hear(port, data);
};

function hear(port, { isVisible, address, kinds }) {
  if (!isVisible) {
    followers.delete(port);
    closeUnlessFollowed();
    return;
  }
  const isNew = !followers.has(port);
  followers.set(port, performance.now());
  // Whoever has just signed in need not wait until what was refused is tried again.
  if (stream === null || (isNew && stream.readyState === EventSource.CLOSED)) open(address, kinds);
  port.postMessage({ isOpen: stream.readyState === EventSource.OPEN });
}

function open(address, kinds) {
  clearTimeout(retry);
  stream = new EventSource(address);
  stream.onopen = () => tell({ isOpen: true });
  stream.onerror = () => {
    tell({ isOpen: false });
    if (stream.readyState === EventSource.CLOSED) retry = setTimeout(() => open(address, kinds), TRY_AGAIN_AFTER);
  };
  for (const kind of kinds) stream.addEventListener(kind, () => tell({ isOpen: true, isNews: true }));
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

// A window that crashed does not say that it is gone.
setInterval(() => {
  const now = performance.now();
  for (const [port, heard] of followers) if (now - heard > FORGET_AFTER) followers.delete(port);
  closeUnlessFollowed();
}, FORGET_AFTER / 2);
