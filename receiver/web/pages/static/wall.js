// Makes the wallboard fit on the screen, and fill it: nobody scrolls a screen on a wall.
//
// The style sheet shows the groups in the size `--fit`, 1 if there is no script. It stands at the root
// of the document, which an update of the page leaves alone.

const SMALLEST = 20; // of 40 steps: what is still smaller cannot be read from afar, and is scrolled
const LARGEST = 60; // the cells of a large fleet are as wide as the screen already
const STEPS = 40;

const root = document.documentElement;
const isScreen = matchMedia("(min-width: 60rem)"); // on a telephone, people scroll

function fits(steps) {
  root.style.setProperty("--fit", steps / STEPS);
  return root.scrollHeight <= root.clientHeight;
}

// The largest size that fits, by halving what is left.
function fit() {
  if (!isScreen.matches) return root.style.removeProperty("--fit");
  let [low, high] = [SMALLEST, document.querySelector(".bricks") ? LARGEST : STEPS];
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
