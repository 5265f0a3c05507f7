// Makes the wallboard fit on the screen: nobody scrolls a screen on a wall.
//
// The style sheet shows the groups in the size `--fit`, 1 for the full size. It stands at the root
// of the document, which an update of the page leaves alone.

const SMALLEST = 20; // of 40 steps: what is still smaller cannot be read from afar, and is scrolled
const STEPS = 40;

const root = document.documentElement;
const isScreen = matchMedia("(min-width: 60rem)"); // on a telephone, people scroll

function fits(steps) {
  root.style.setProperty("--fit", steps / STEPS);
  return root.scrollHeight <= root.clientHeight;
}

// The largest size that fits, by halving what is left.
function fit() {
  if (!isScreen.matches || fits(STEPS)) return root.style.removeProperty("--fit");
  let [low, high] = [SMALLEST, STEPS - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle - 1;
  }
  return fits(low);
}

addEventListener("resize", fit);
document.addEventListener("fleet:renewed", fit);
fit();
