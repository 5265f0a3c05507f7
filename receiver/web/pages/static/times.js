// Tells times: ages that grow by themselves, and times of day in the reader's time zone or in UTC.
//
// Of `<time>` elements, those with `data-ago` tell an age, `data-lasts` how long something has been
// so, `data-at` a time, and `data-now` of which
// time the page is. With the value `time`, `data-at` tells the time of day, as in a list by days,
// and with `lately` the day only where it is not that of the page. While the connection is lost, no age
// grows: a server was last heard at a time, and nobody knows whether it was heard since.

const KEY = "fleet-times";
const UNITS = { d: 86400, h: 3600, min: 60, s: 1 }; // seconds

let asOf = Date.parse(document.body.dataset.now); // the receiver's clock when the page was made
let ahead = asOf - (performance.timeOrigin + (performance.getEntriesByType("navigation")[0]?.responseStart ?? 0));
let isLost = false;
let isInUtc = stored() === "utc";

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // it is not allowed
  }
}

function ago(seconds) {
  const unit = Object.keys(UNITS).find((each) => seconds >= 2 * UNITS[each]);
  if (unit) return `${Math.floor(seconds / UNITS[unit])} ${unit} ago`;
  return seconds >= 1 ? "1 s ago" : "just now";
}

// A duration in the largest unit that fits and the next smaller one.
function duration(seconds) {
  let rest = Math.floor(seconds);
  const parts = [];
  for (const [unit, size] of Object.entries(UNITS)) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count || parts.length) parts.push(count ? `${count} ${unit}` : "");
  }
  return parts.slice(0, 2).filter(Boolean).join(" ") || "0 s";
}

function two(number) {
  return String(number).padStart(2, "0");
}

// The parts of a time in UTC, or in the zone of the reader.
function partsOf(moment, inUtc) {
  const local = inUtc ? moment : moment - new Date(moment).getTimezoneOffset() * 60_000;
  const [day, time] = new Date(local).toISOString().split("T");
  return { day, time: time.slice(0, 8) };
}

function zone(moment) {
  const minutes = -new Date(moment).getTimezoneOffset();
  if (minutes === 0) return "UTC";
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  return `UTC${minutes < 0 ? "−" : "+"}${hours}${rest ? `:${two(rest)}` : ""}`;
}

function exactly(moment, inUtc) {
  const { day, time } = partsOf(moment, inUtc);
  return `${day} ${time} ${inUtc ? "UTC" : zone(moment)}`;
}

function timeOfDay(moment) {
  const { day, time } = partsOf(moment, isInUtc);
  return day === partsOf(moment, true).day ? time : `${day.slice(5)} ${time}`; // lists are by days of UTC
}

// The time of day, and the day where it is not that of the page.
function lately(moment) {
  const { day, time } = partsOf(moment, isInUtc);
  return day === partsOf(asOf, isInUtc).day ? time : `${day} ${time}`;
}

const forms = { time: timeOfDay, lately };

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tellAges() {
  const now = Date.now() + ahead;
  for (const each of document.querySelectorAll("time[data-ago]")) {
    const moment = Date.parse(each.dateTime);
    say(each, isLost ? lately(moment) : ago((now - moment) / 1000));
  }
  for (const each of document.querySelectorAll("time[data-lasts]")) {
    say(each, duration(((isLost ? asOf : now) - Date.parse(each.dateTime)) / 1000));
  }
}

function tellAll() {
  for (const each of document.querySelectorAll("time[data-now]")) {
    each.dateTime = new Date(asOf).toISOString();
    say(each, exactly(asOf, isInUtc));
  }
  for (const each of document.querySelectorAll("time[data-at]")) {
    const moment = Date.parse(each.dateTime);
    say(each, (forms[each.dataset.at] ?? exactly)(moment, isInUtc));
  }
  for (const each of document.querySelectorAll("time:is([data-ago], [data-at], [data-lasts], [data-now])")) {
    const moment = Date.parse(each.dateTime);
    const both = [exactly(moment, true), exactly(moment, false)];
    const title = [...new Set(isInUtc ? both : both.reverse())].join(" = ");
    if (each.title !== title) each.title = title;
  }
  tellAges();
}

document.addEventListener("fleet:renewed", ({ detail: { now } }) => {
  asOf = now;
  ahead = now - Date.now();
  tellAll();
});

document.addEventListener("fleet:connection", ({ detail: { state } }) => {
  isLost = state === "lost" || state === "away";
  tellAges();
});

// Choosing the zone

const chooser = document.getElementById("zone");

function offer() {
  const local = zone(Date.now());
  chooser.hidden = local === "UTC";
  chooser.textContent = isInUtc ? "UTC" : local;
  chooser.title = `Times are those of ${isInUtc ? "UTC" : `this computer, ${local}`}. Show ${isInUtc ? local : "UTC"}`;
}

chooser?.addEventListener("click", () => {
  isInUtc = !isInUtc;
  try {
    localStorage.setItem(KEY, isInUtc ? "utc" : "local");
  } catch {
    // it holds for this page
  }
  offer();
  tellAll();
});

if (chooser) offer();
if (asOf) {
  tellAll();
  setInterval(() => {
    if (!document.hidden) tellAges();
  }, 1_000);
}
