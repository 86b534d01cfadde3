"use strict";
// The page says everything without this. It adds: the numbers of a step under the pointer or by the arrow keys, sorting
// of the table of logs, and opened sections on paper.

const clock = (seconds) => {
  const whole = Math.floor(seconds + 1e-6), two = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  const rest = two(whole % 60) + "." + Math.floor((seconds + 1e-6 - whole) * 10);
  return hours ? `${hours}:${two(minutes)}:${rest}` : `${minutes}:${rest}`;
};
const number = (value) => {
  const size = Math.abs(value);
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 1 ? value.toFixed(2) : value.toPrecision(3);
};
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

function describe(data, index) {
  const [first, last, count] = data.steps[index];
  const [agree, differ, rest] = data.verdicts[index];
  const when = data.stamp[index] > 1e12 ? " · " + new Date(data.stamp[index]).toISOString().replace("T", " ").replace("Z", " UTC") : "";
  const parts = [];
  if (count === 1) {
    parts.push(`step ${first}`, agree ? "agrees" : differ ? "differs" : "not compared");
  } else {
    parts.push(`steps ${first} to ${last} (${count})`, `${agree} agree, ${differ} differ, ${rest} not compared`);
  }
  data.alarms[index].forEach((times, kind) => {
    if (times) parts.push(`alarm: ${data.kinds[kind]}${times > 1 ? ` (${times})` : ""}`);
  });
  if (data.missed[index]) parts.push(count === 1 ? "deadline missed" : `${plural(data.missed[index], "deadline")} missed`);
  return [clock(data.t[index]), when + " · " + parts.join(" · ")];
}

function timeline(figure) {
  const data = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
  const stack = figure.querySelector(".stack"), cursor = figure.querySelector(".cursor");
  const now = figure.querySelector(".now"), outputs = [...figure.querySelectorAll("output[data-series]")];
  const panel = figure.querySelector(".panel");
  const count = data.x.length;
  if (!count || !panel) return;
  let at = -1;
  const show = (index) => {
    at = Math.max(0, Math.min(count - 1, index));
    const [time, text] = describe(data, at);
    now.replaceChildren(Object.assign(document.createElement("b"), { textContent: time }), text);
    const values = [];
    for (const output of outputs) {
      const value = data.series[output.dataset.series][at];
      output.textContent = value === null ? "–" : Array.isArray(value) ? `${number(value[0])} … ${number(value[1])}` : number(value);
      if (value !== null) values.push(`${output.dataset.name} ${output.textContent}`);
    }
    const box = panel.getBoundingClientRect(), whole = stack.getBoundingClientRect();
    cursor.style.left = `${box.left - whole.left + (data.x[at] / 1000) * box.width}px`;
    cursor.hidden = false;
    stack.setAttribute("aria-valuenow", at);
    stack.setAttribute("aria-valuetext", `${time}${text}. ${values.join(", ")}`);
  };
  const under = (event) => {
    const box = panel.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * 1000;
    let low = 0, high = count - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (data.x[middle] < x) low = middle + 1; else high = middle;
    }
    return low > 0 && x - data.x[low - 1] < data.x[low] - x ? low - 1 : low;
  };
  const alarmed = (index) => data.alarms[index].some((times) => times > 0);
  const next = (step) => {
    for (let index = at + step; index >= 0 && index < count; index += step) if (alarmed(index)) return index;
    return at;
  };
  stack.addEventListener("pointermove", (event) => show(under(event)));
  stack.addEventListener("pointerdown", (event) => show(under(event)));
  stack.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.round(count / 20));
    const to = {
      ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, PageUp: at + page, PageDown: at - page,
      Home: 0, End: count - 1, n: next(1), p: next(-1),
    }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    show(to);
  });
  stack.addEventListener("focus", () => { if (at < 0) show(0); });
  addEventListener("resize", () => { if (at >= 0) show(at); });
  stack.tabIndex = 0;
  for (const [name, value] of [["role", "slider"], ["aria-valuemin", 0], ["aria-valuemax", count - 1], ["aria-valuenow", 0]]) {
    stack.setAttribute(name, value);
  }
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") !== "descending" && !(head.dataset.first === "up" && !head.hasAttribute("aria-sort"));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "") || 0;
        const numeric = !Number.isNaN(Number(x)) && !Number.isNaN(Number(y));
        const order = numeric ? Number(x) - Number(y) : x.localeCompare(y);
        return descending ? -order : order;
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(compare));
    });
  });
}

document.querySelectorAll(".timeline").forEach(timeline);
document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll(".onscript").forEach((element) => { element.hidden = false; });
// A link to what lies in a closed section opens it.
const reveal = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) { const closed = target.closest("details:not([open])"); if (closed) { closed.open = true; target.scrollIntoView(); } }
};
addEventListener("hashchange", reveal);
reveal();
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => { details.open = true; }));
