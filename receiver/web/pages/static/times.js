// Tells times: ages that grow by themselves, and times of day in the reader's time zone or in UTC.
//
// Of `<time>` elements, those with `data-ago` tell an age, `data-lasts` how long something has been
// so, `data-at` a time, and `data-now` of which
// time the page is. With the value `time`, `data-at` tells the time of day, as in a list by days,
// with `clock` the same where this script writes the days above the lines, and with `lately` the day
// only where it is not that of the page. While the connection is lost, no age
// grows: a server was last heard at a time, and nobody knows whether it was heard since.
//
// The fields with `data-utc` hold times in the zone that is shown, and are sent in UTC.

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

const forms = { time: timeOfDay, lately, clock: (moment) => partsOf(moment, isInUtc).time };

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
  tellDays();
  tellFields();
}

// Lists by days

function isLocal(moment) {
  return !isInUtc && zone(moment) !== "UTC";
}

function dayOf(moment) {
  const [weekday, month] = ["weekday", "month"].map((part) => new Date(moment).toLocaleDateString("en", { [part]: "long" }));
  const [year, , day] = partsOf(moment, false).day.split("-");
  return `${weekday}, ${Number(day)} ${month} ${year}`;
}

// The server writes lines below days of UTC. Here each line is below its day in the reader's zone.
function tellDays() {
  const times = [...document.querySelectorAll('.wide time[data-at="clock"]')];
  const isOther = times.some((each) => isLocal(Date.parse(each.dateTime)));
  for (const each of document.querySelectorAll(".wide > .day")) each.remove();
  for (const each of document.querySelectorAll("h3.day")) each.hidden = isOther;
  let last = "";
  for (const each of isOther ? times : []) {
    const moment = Date.parse(each.dateTime);
    const { day } = partsOf(moment, false);
    if (day !== last) {
      const [item, heading] = ["li", "h3"].map((name) => document.createElement(name));
      item.className = "day";
      item.dataset.added = "";
      heading.textContent = dayOf(moment);
      item.append(heading);
      each.closest("li").before(item);
    }
    last = day;
  }
}

// Periods

let areFieldsInUtc = true; // as the server has written them

function inUtc(moment) {
  return new Date(moment).toISOString().replace(/\.\d+/, "");
}

function readField(text, isUtc) {
  return Date.parse(isUtc ? `${text}Z` : text);
}

// A time so many hours from the beginning of today, by the clock on the wall.
function hoursFromMidnight(hours) {
  const now = new Date(asOf);
  if (isInUtc) return Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate(), hours);
  return new Date(now.getFullYear(), now.getMonth(), now.getDate(), hours).getTime();
}

function tellFields() {
  for (const field of document.querySelectorAll("input[data-utc]")) {
    if (!field.value || areFieldsInUtc === isInUtc) continue;
    const { day, time } = partsOf(readField(field.value, areFieldsInUtc), isInUtc);
    field.value = `${day}T${time}`;
  }
  areFieldsInUtc = isInUtc;
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  for (const each of document.querySelectorAll("[data-zone]")) say(each, isInUtc ? "UTC" : timeZone);
  for (const each of document.querySelectorAll("a[data-hours]")) tellPeriod(each);
}

// Lets a link lead to a time of the reader's days, and marks it if the page shows that time.
function tellPeriod(link) {
  const times = link.dataset.hours.split(" ").map((hours) => inUtc(hoursFromMidnight(Number(hours))));
  const [query, here] = [link.search, location.search].map((each) => new URLSearchParams(each));
  query.set("since", times[0]);
  if (times[1]) query.set("until", times[1]);
  if (link.search !== `?${query}`) link.search = query;
  const moment = (parameters, name) => Date.parse(parameters.get(name)) || 0;
  const isHere = ["since", "until"].every((name) => moment(here, name) === moment(query, name));
  if (isHere) link.setAttribute("aria-current", "true");
  else link.removeAttribute("aria-current");
}

document.addEventListener("formdata", ({ target, formData }) => {
  for (const field of target.querySelectorAll("input[data-utc]")) {
    if (field.value) formData.set(field.name, inUtc(readField(field.value, isInUtc)));
  }
});

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
