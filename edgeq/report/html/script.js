(() => {
"use strict";

// Everything a model says is put in as text nodes: no string becomes markup here.
const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const tip = document.getElementById("tip");
const EQUAL = 150;
const SPACE = "http://www.w3.org/2000/svg";
root.classList.add("js");

function fill(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  for (const child of children) if (child !== null && child !== undefined) made.append(child);
  return made;
}
const element = (name, attributes, ...children) =>
  fill(document.createElement(name), attributes, children);
const drawn = (name, attributes, ...children) =>
  fill(document.createElementNS(SPACE, name), attributes, children);
const known = (number) => typeof number === "number" && Number.isFinite(number);

function words(number, digits) {
  if (!known(number)) return "not a number";
  if (number !== 0 && (Math.abs(number) >= 1e6 || Math.abs(number) < 1e-4)) {
    return number.toExponential(2).replace("e+", "e").replaceAll("-", "\u2212");
  }
  return String(Number(number.toPrecision(digits || 4))).replace("-", "\u2212");
}
function decibels(number) {
  if (!known(number)) return "not a number";
  return number >= EQUAL ? "exact" : `${number.toFixed(1).replace("-", "\u2212")} dB`;
}
function percent(fraction) {
  const share = 100 * fraction;
  if (share === 0) return "none";
  return share < 0.001 ? "less than 0.001 %" : `${Number(share.toPrecision(3))} %`;
}
function amount(count) {
  const units = ["", " thousand", " million", " billion", " trillion"];
  let power = 0, number = count;
  while (number >= 999.5 && power < units.length - 1) { number /= 1000; power += 1; }
  return `${Number(number.toPrecision(3))}${units[power]}`;
}

// The one tooltip of the page.
function showTip(lines, x, y) {
  tip.replaceChildren(...lines.map((line) => element("p", {}, line)));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = Math.max(8, Math.min(x - box.width / 2, root.clientWidth - box.width - 8));
  const above = y - box.height - 14;
  tip.style.left = `${left}px`;
  tip.style.top = `${above < 8 ? Math.min(y + 18, window.innerHeight - box.height - 8) : above}px`;
}
function hideTip() { tip.hidden = true; }

function explainWords() {
  const explain = (event) => {
    const word = event.target.closest && event.target.closest("a.term");
    if (!word) return;
    const meaning = document.getElementById(word.getAttribute("aria-describedby"));
    const box = word.getBoundingClientRect();
    if (meaning) showTip([meaning.textContent], box.left + box.width / 2, box.top);
    if (event.type === "click") event.preventDefault();
  };
  for (const type of ["mouseover", "focusin", "click"]) document.addEventListener(type, explain);
  for (const type of ["mouseout", "focusout"]) {
    document.addEventListener(type, (event) => {
      if (event.target.closest && event.target.closest("a.term")) hideTip();
    });
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  for (const type of ["wheel", "touchmove"]) window.addEventListener(type, hideTip, { passive: true });
}

// Redraws when the width has changed; a change of height alone is the drawing's own.
function drawInto(box, draw) {
  let width = 0;
  const again = () => {
    const now = Math.round(box.clientWidth);
    if (now > 0 && now !== width) { width = now; draw(width); }
  };
  again();
  // Not at once: drawing inside of the observer's call would make it complain.
  if (window.ResizeObserver) new ResizeObserver(() => requestAnimationFrame(again)).observe(box);
  return () => { width = 0; again(); };
}

function steps(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + step * 1e-9; k += 1) found.push(k * step);
  return found;
}

function choices(name, legend, options, chosen, changed) {
  const group = element("fieldset", {}, element("legend", {}, legend));
  for (const [value, shown] of options) {
    const input = element("input", { type: "radio", name, value });
    input.checked = value === chosen;
    input.addEventListener("change", () => changed(value));
    group.append(element("label", {}, input, ` ${shown}`));
  }
  return group;
}

function legend(entries) {
  return element("ul", { class: "legend" }, ...entries.map(([kind, said]) =>
    element("li", {}, element("span", { class: `key ${kind}` }), said)));
}

// Quality over depth.
const TOP = 60;
let moveTo = () => {};

function depthPlot(box, choose) {
  const layers = data.layers;
  const both = layers.some((layer) => known(layer.alone));
  const shown = { db: true, alone: both };
  let current = -1, place = null, marks = [];
  const stage = element("div", { class: "chart" });

  const limits = [[data.limits.far, "limit far", "errors begin to show"], [data.limits.failed, "limit", "little is left"]]
    .filter(([db]) => known(db));
  const numbers = layers.flatMap((layer) => [layer.db, layer.alone]).filter(known);
  const usual = numbers.filter((number) => number < EQUAL);
  const top = Math.min(Math.max(TOP, Math.ceil(Math.max(0, ...usual) / 10) * 10), 100);
  const bottom = Math.max(Math.min(0, Math.floor(Math.min(0, ...usual) / 10) * 10), -40);

  function describe(layer, index) {
    const lines = [`${index + 1} of ${layers.length}: ${layer.op} ${layer.name}`];
    lines.push(`output ${known(layer.db) ? decibels(layer.db) : "not a number"}` +
      (known(layer.before) ? `, reads ${decibels(layer.before)}` : ""));
    if (known(layer.alone)) lines.push(`by itself ${decibels(layer.alone)}`);
    if (layer.cause) lines.push(layer.cause);
    return lines;
  }

  function mark(index, speak) {
    if (!place || index < 0 || index >= layers.length) return;
    for (const each of marks) each.forEach((point) => point.classList.remove("current"));
    current = index;
    marks[index].forEach((point) => point.classList.add("current"));
    const x = place.x(index);
    place.cursor.setAttribute("x1", x);
    place.cursor.setAttribute("x2", x);
    place.cursor.setAttribute("visibility", "visible");
    const lines = describe(layers[index], index);
    place.svg.setAttribute("aria-valuenow", index + 1);
    place.svg.setAttribute("aria-valuetext", lines.join(", "));
    if (!speak) return;
    const frame = place.svg.getBoundingClientRect();
    const zoom = frame.width / place.width;
    showTip(lines, frame.left + x * zoom, frame.top + place.y(layers[index].db) * zoom);
  }

  function nearest(event) {
    const frame = place.svg.getBoundingClientRect();
    const x = (event.clientX - frame.left) * place.width / frame.width;
    const step = place.x(1) - place.x(0) || 1;
    return Math.max(0, Math.min(layers.length - 1, Math.round((x - place.x(0)) / step)));
  }

  const moves = {
    ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10,
    Home: -Infinity, End: Infinity,
  };
  function pressed(event) {
    if (event.key in moves) {
      const next = current + moves[event.key];
      mark(Math.max(0, Math.min(layers.length - 1, next)), true);
    } else if ((event.key === "Enter" || event.key === " ") && current >= 0) {
      choose(layers[current].value);
    } else return;
    event.preventDefault();
  }

  function draw(width) {
    const height = width < 500 ? 240 : 300;
    const edge = { left: 46, right: 14, top: 14, bottom: 36 };
    const across = width - edge.left - edge.right, down = height - edge.top - edge.bottom;
    const gaps = Math.max(layers.length - 1, 1);
    const x = (index) =>
      layers.length === 1 ? edge.left + across / 2 : edge.left + across * index / gaps;
    const y = (db) => {
      const inside = known(db) ? Math.max(bottom, Math.min(top, db)) : bottom;
      return edge.top + down * (top - inside) / (top - bottom);
    };
    const svg = drawn("svg", {
      viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "slider", "aria-valuemin": 1,
      "aria-valuemax": layers.length, "aria-valuenow": Math.max(current, 0) + 1,
      "aria-label": "Quality of each layer in dB, from the first to the last",
    });
    for (const db of steps(bottom, top, 6)) {
      svg.append(drawn("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: y(db), y2: y(db) }));
      svg.append(drawn("text", { x: edge.left - 8, y: y(db) + 4, "text-anchor": "end" }, `${db}`));
    }
    svg.append(drawn("text", { x: 4, y: 10 }, "dB"));
    for (const [db, kind] of limits) {
      svg.append(drawn("line", { class: kind, x1: edge.left, x2: width - edge.right, y1: y(db), y2: y(db) }));
    }
    const words = [["first layer", edge.left, "start"], ["last layer", width - edge.right, "end"]];
    for (const [said, at, anchor] of words) {
      svg.append(drawn("text", { x: at, y: height - 12, "text-anchor": anchor }, said));
    }
    const cursor = drawn("line", { class: "cursor", y1: edge.top, y2: edge.top + down, visibility: "hidden" });
    svg.append(cursor);
    marks = layers.map(() => []);
    const size = layers.length > 150 ? 2 : 3.5;
    for (const key of ["alone", "db"]) {
      if (!shown[key]) continue;
      let path = "", pen = "M";
      layers.forEach((layer, index) => {
        if (key === "alone" && !known(layer.alone)) { pen = "M"; return; }
        path += `${pen}${x(index).toFixed(1)} ${y(layer[key]).toFixed(1)}`;
        pen = "L";
      });
      svg.append(drawn("path", { class: key === "alone" ? "path alone" : "path", d: path }));
      layers.forEach((layer, index) => {
        if (key === "alone" && !known(layer.alone)) return;
        const kind = `point${key === "alone" ? " alone" : ""}${known(layer[key]) ? "" : " none"}`;
        const point = drawn("circle", { class: kind, cx: x(index), cy: y(layer[key]), r: size });
        marks[index].push(point);
        svg.append(point);
      });
    }
    svg.addEventListener("pointermove", (event) => mark(nearest(event), true));
    svg.addEventListener("pointerleave", hideTip);
    svg.addEventListener("focus", () => mark(Math.max(current, 0), true));
    svg.addEventListener("blur", hideTip);
    svg.addEventListener("click", (event) => { mark(nearest(event), true); choose(layers[current].value); });
    svg.addEventListener("keydown", pressed);
    place = { svg, x, y, cursor, width };
    stage.replaceChildren(svg);
    if (current >= 0) mark(current, false);
  }

  const entries = [["point", "accumulated: with the errors of all layers before it"]];
  if (both) entries.push(["alone", "alone: this layer's own error"]);
  for (const [db, kind, said] of limits) entries.push([kind, `under ${db} dB ${said}`]);
  box.replaceChildren(stage, legend(entries));
  const again = drawInto(stage, draw);
  if (both) {
    const options = [["both", "both"], ["db", "accumulated"], ["alone", "alone"]];
    const pick = choices("reading", "Show", options, "both", (value) => {
      shown.db = value !== "alone";
      shown.alone = value !== "db";
      again();
    });
    box.prepend(element("div", { class: "controls" }, pick));
  }
  moveTo = (name) => {
    const index = layers.findIndex((layer) => layer.name === name);
    if (index >= 0) { box.scrollIntoView({ block: "center" }); mark(index, true); }
  };
}

// Histograms.
function countAxis(highest, logarithmic) {
  if (!logarithmic) return { part: (count) => count / highest, ticks: steps(0, highest, 4) };
  // A single element is half a decade high, so that it is seen.
  const whole = Math.log10(Math.max(highest, 1)) + 0.5;
  const decades = Math.floor(Math.log10(Math.max(highest, 1)));
  const every = Math.max(1, Math.ceil(decades / 4));
  const ticks = [];
  for (let k = 0; k <= decades; k += every) ticks.push(10 ** k);
  return { part: (count) => count > 0 ? (Math.log10(count) + 0.5) / whole : 0, ticks };
}

function histogram(width, plot) {
  const height = width < 500 ? 220 : 280;
  const edge = { left: 50, right: 14, top: 14, bottom: 44 };
  const across = width - edge.left - edge.right, down = height - edge.top - edge.bottom;
  const { low, high, counts } = plot;
  const x = (number) => edge.left + across * (number - low) / (high - low);
  const place = (index) => plot.edges ? x(plot.edges[index]) : edge.left + across * index / counts.length;
  const highest = Math.max(1, ...counts, ...(plot.other || []));
  const axis = countAxis(highest, plot.logarithmic);
  const floor = edge.top + down;
  const y = (count) => floor - down * axis.part(count);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": plot.label });
  const within = (number) => Math.max(edge.left, Math.min(width - edge.right, x(number)));
  if (plot.covered) {
    const [first, last] = plot.covered.map(within);
    svg.append(drawn("rect", { class: "covered", x: first, y: edge.top, width: Math.max(last - first, 0), height: down }));
  }
  for (const count of axis.ticks) {
    svg.append(drawn("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: y(count), y2: y(count) }));
    svg.append(drawn("text", { x: edge.left - 6, y: y(count) + 4, "text-anchor": "end" },
      count >= 1000 ? amount(count).replace(/ (.).*/, "$1").replace("t", "k").replace("m", "M").replace("b", "G") : `${Number(count.toPrecision(3))}`));
  }
  const middle = (index) => plot.edges
    ? (plot.edges[index] + plot.edges[index + 1]) / 2 : low + (high - low) * (index + 0.5) / counts.length;
  counts.forEach((count, index) => {
    if (count <= 0) return;
    const cut = plot.covered && (middle(index) < plot.covered[0] || middle(index) > plot.covered[1]);
    const left = place(index), right = place(index + 1), top = y(count);
    svg.append(drawn("rect", {
      class: cut ? "count cut" : "count", x: left.toFixed(2), y: top.toFixed(2),
      width: Math.max(right - left - (right - left > 4 ? 1 : 0), 0.5).toFixed(2), height: (floor - top).toFixed(2),
    }));
  });
  if (plot.other) {
    let path = `M${place(0).toFixed(1)} ${floor}`;
    plot.other.forEach((count, index) => { path += `V${y(count).toFixed(1)}H${place(index + 1).toFixed(1)}`; });
    svg.append(drawn("path", { class: "outline", d: `${path}V${floor}` }));
  }
  if (plot.covered) {
    for (const end of plot.covered) {
      if (end < low || end > high) continue;
      svg.append(drawn("line", { class: "end", x1: x(end), x2: x(end), y1: edge.top, y2: floor + 9 }));
    }
    levels(svg, plot, x, floor + 3, [edge.left, width - edge.right]);
  }
  svg.append(drawn("line", { class: "cursor", x1: edge.left, x2: width - edge.right, y1: floor, y2: floor }));
  for (const number of steps(low, high, width < 500 ? 4 : 8)) {
    svg.append(drawn("text", { x: x(number), y: height - 16, "text-anchor": "middle" }, words(number, 4)));
  }
  svg.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect();
    const at = (event.clientX - frame.left) * width / frame.width;
    let index = 0;
    while (index < counts.length - 1 && place(index + 1) < at) index += 1;
    const from = plot.edges ? plot.edges[index] : low + (high - low) * index / counts.length;
    const to = plot.edges ? plot.edges[index + 1] : low + (high - low) * (index + 1) / counts.length;
    const lines = [`${words(from, 3)} to ${words(to, 3)}`];
    if (plot.other) lines.push(`fp32: ${amount(counts[index])}, int8: ${amount(plot.other[index])}`);
    else lines.push(counts[index] === 1 ? "1 number" : `${amount(counts[index])} numbers`);
    showTip(lines, event.clientX, frame.top + y(counts[index]) * frame.height / height);
  });
  svg.addEventListener("pointerleave", hideTip);
  return svg;
}

// A tick for every integer, where they are far enough apart to be told from each other.
function levels(svg, plot, x, top, [left, right]) {
  if (!known(plot.scale) || !(plot.scale > 0)) return;
  const [first, last] = plot.covered;
  const apart = x(first + plot.scale) - x(first);
  const from = Math.max(x(first), left), to = Math.min(x(last), right);
  if (apart < 2.5) {
    svg.append(drawn("rect", { class: "levels", x: from, y: top, width: Math.max(to - from, 1), height: 5 }));
    return;
  }
  for (let at = x(first); at <= to + 0.01; at += apart) {
    if (at >= left) svg.append(drawn("line", { class: "level", x1: at, x2: at, y1: top, y2: top + 5 }));
  }
}

// In a sentence or two: how this value fares.
function story(value) {
  if (!value.dtype) {
    return value.count ? "This value stays in floating-point numbers: nothing of it is rounded or cut off."
      : "This value stays in floating-point numbers; no sample computed it.";
  }
  const said = [];
  const all = value.dtype.endsWith("16") ? 65536 : 256;
  if (known(value.used) && value.used < all / 8) {
    said.push(`Nearly all numbers share only ${value.used} of ${all} integers: a few far larger ones stretch the range.`);
  } else if (known(value.used) && value.used < all / 3) {
    said.push(`The middle 99 % of the numbers lie on ${value.used} of ${all} integers.`);
  } else if (known(value.used)) {
    said.push(`The ${all} integers are put to good use: the middle 99 % of the numbers lie on ${value.used} of them.`);
  }
  if (value.outside > 0) said.push(`${percent(value.outside)} of the numbers lie outside and are cut off to the ends.`);
  else if (value.outside === 0) said.push("Nothing is cut off.");
  return said.map((each) => each[0].toUpperCase() + each.slice(1)).join(" ");
}

function facts(value) {
  const rows = [["computed by", value.producer || "the caller: an input of the model"]];
  if (value.consumers) rows.push(["read by", value.consumers.join(", ")]);
  rows.push(["stored as", value.dtype || "float"]);
  if (known(value.low)) rows.push([`range chosen by ${value.calibrator}`, `${words(value.low)} to ${words(value.high)}`]);
  if (known(value.first)) rows.push(["the integers reach", `${words(value.first)} to ${words(value.last)}`]);
  if (known(value.scale)) rows.push(["step (scale)", words(value.scale)], ["integer for 0.0 (zero point)", words(value.zero_point, 6)]);
  if (known(value.minimum)) {
    rows.push(["seen", `${words(value.minimum)} to ${words(value.maximum)}, ${amount(value.count)} numbers`]);
    rows.push(["zeros among them", percent(value.zeros)]);
  }
  if (known(value.outlier_ratio)) rows.push(["largest against 99.9 % of the others", `${words(value.outlier_ratio, 3)} times`]);
  if (value.channels) {
    const { count, dead, widest } = value.channels;
    const apart = known(widest) && count > 1 ? `, the widest range is ${words(widest, 3)} times the usual one` : "";
    rows.push(["channels", `${count}${apart}${dead ? `, ${dead} of them constant` : ""}`]);
  }
  if (known(value.expected_db)) rows.push(["expected quality of this value by itself", decibels(value.expected_db)]);
  if (known(value.own)) rows.push(["measured quality, everything else exact", decibels(value.own)]);
  if (known(value.readers)) rows.push(["of what reads it", `${decibels(value.readers)}, at worst in ${value.reader}`]);
  if (known(value.whole_db)) rows.push(["in the int8 model", decibels(value.whole_db)]);
  if (value.cause) rows.push(["likely cause", value.cause]);
  return element("dl", { class: "pairs" }, ...rows.map(([name, said]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, said))));
}

function explorer(box) {
  const values = data.values;
  const quality = (value) => value.dtype && known(value.expected_db) ? value.expected_db : 1e9;
  const worst = values.reduce((least, value, index) => quality(value) < quality(values[least]) ? index : least, 0);
  let chosen = worst, logarithmic = true, close = false, order = "graph", wanted = "";
  const search = element("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  const select = element("select", { id: "value" });
  const sort = element("select", {}, element("option", { value: "graph" }, "in the order of the model"),
    element("option", { value: "worst" }, "the worst first"));
  const found = element("span", { role: "status" });
  const view = element("div", { class: "controls" });
  const stage = element("div", { class: "chart", id: "histogram" });
  const told = element("p", { class: "story" });
  const key = element("div");
  const about = element("div");
  const heading = element("h3", { id: "chosen" });
  let redraw = () => {};

  function list() {
    const needle = wanted.toLowerCase();
    let shown = values.map((value, index) => [value, index]).filter(([value]) =>
      [value.name, value.producer || "", value.dtype || "float"].join(" ").toLowerCase().includes(needle));
    if (order === "worst") {
      shown = [...shown].sort(([a], [b]) => quality(a) - quality(b));
    }
    select.replaceChildren(...shown.map(([value, index]) => {
      const what = [value.producer || "input", value.dtype || "float"].join(", ");
      const alone = value.dtype && known(value.expected_db) ? `, ${decibels(value.expected_db)}` : "";
      return element("option", { value: index }, `${value.name} (${what}${alone})`);
    }));
    found.textContent = needle ? ` ${shown.length} of ${values.length}` : ` ${values.length}`;
    if (shown.length && !shown.some(([, index]) => index === chosen)) { chosen = shown[0][1]; show(); }
    select.value = String(chosen);
  }

  function draw(width) {
    const value = values[chosen];
    const bars = close && value.close_up ? value.close_up : value.whole;
    if (!bars) {
      stage.replaceChildren(element("p", { class: "dim" }, "No histogram: no sample computed this value."));
      return;
    }
    const covered = known(value.first) ? [value.first, value.last] : null;
    stage.replaceChildren(histogram(width, {
      low: bars.low, high: bars.high, counts: bars.counts, covered, scale: value.scale, logarithmic,
      label: `How often ${value.name} takes which number`,
    }));
  }

  function controls() {
    const value = values[chosen];
    const counts = choices("counts", "Height", [["log", "logarithmic"], ["linear", "linear"]],
      logarithmic ? "log" : "linear", (picked) => { logarithmic = picked === "log"; redraw(); });
    const extent = value.close_up ? choices("extent", "Show", [["all", "all that was seen"], ["close", "what the integers cover"]],
      close ? "close" : "all", (picked) => { close = picked === "close"; redraw(); }) : null;
    view.replaceChildren(counts, ...(extent ? [extent] : []));
  }

  function show() {
    const value = values[chosen];
    heading.replaceChildren("Value ", element("code", {}, value.name));
    told.textContent = story(value);
    about.replaceChildren(facts(value));
    const entries = [["reference", "how often each number occurs"]];
    if (value.dtype) {
      entries.push(["level", "the integers"], ["covered", "what they cover"]);
      if (value.outside > 0) entries.push(["cut", "cut off"]);
    }
    key.replaceChildren(legend(entries));
    controls();
    select.value = String(chosen);
    redraw();
  }

  function choose(name, scroll) {
    const index = values.findIndex((value) => value.name === name);
    if (index < 0) return false;
    if (wanted) { wanted = search.value = ""; list(); }
    chosen = index;
    show();
    if (scroll) box.closest("section").scrollIntoView({ block: "start" });
    return true;
  }

  search.addEventListener("input", () => { wanted = search.value; list(); });
  sort.addEventListener("change", () => { order = sort.value; list(); });
  select.addEventListener("change", () => { chosen = Number(select.value); show(); });
  box.replaceChildren(
    element("div", { class: "controls" },
      element("label", { class: "wide" }, "Search by name, operator or type", search),
      element("label", { class: "wide" }, "Value", found, select), element("label", {}, "Listed", sort)),
    heading, told, view, stage, key, about);
  list();
  redraw = drawInto(stage, draw);
  show();
  return choose;
}

function partingChart(box) {
  const { edges, reference, candidate } = data.parting;
  if (!Array.isArray(edges) || !Array.isArray(reference) || edges.length !== reference.length + 1) return;
  if (!edges.every(known) || !(edges[edges.length - 1] > edges[0])) return;
  const stage = element("div", { class: "chart" });
  box.replaceChildren(stage, legend([["reference", "original (fp32)"], ["outline", "quantized (int8)"]]));
  drawInto(stage, (width) => stage.replaceChildren(histogram(width, {
    low: edges[0], high: edges[edges.length - 1], edges, counts: reference, other: candidate, logarithmic: true,
    label: "How often the layer's output takes which number, in both models",
  })));
}

function planFilter(box) {
  const rows = [...document.querySelectorAll("#plan-table tbody tr")];
  const search = element("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  const forms = [...new Set(rows.map((row) => row.cells[2].textContent))].sort();
  const form = element("select", {}, element("option", { value: "" }, "any"),
    ...forms.map((each) => element("option", { value: each }, each)));
  const found = element("span", { role: "status" });
  const filter = () => {
    const needle = search.value.toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const fits = (!form.value || row.cells[2].textContent === form.value) && row.textContent.toLowerCase().includes(needle);
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    found.textContent = needle || form.value ? ` ${shown} of ${rows.length}` : "";
    if (needle || form.value) document.getElementById("plan-rows").open = true;
  };
  search.addEventListener("input", filter);
  form.addEventListener("change", filter);
  box.replaceChildren(element("label", { class: "wide" }, "Search nodes", found, search), element("label", {}, "Runs", form));
}

// The frontier: every model that was made, by two of its three figures.
function frontierPlot(box) {
  const { points, metric, higher } = data.frontier;
  const figures = {
    time: ["time", "time of a run by that of fp32", (point) => `${words(point.time, 3)}\u00d7 the time of fp32 (${words(point.ms, 3)} ms)`],
    size: ["size", "size by that of fp32", (point) => `${words(point.size, 3)}\u00d7 the size of fp32`],
    score: ["score", metric, (point) => `${metric} ${words(point.score, 4)}`],
  };
  const views = { "time score": "score over time", "size score": "score over size", "time size": "size over time" };
  const ranked = [...points].filter((point) => known(point.time)).sort((a, b) => a.time - b.time);
  if (!ranked.length) return;
  const stage = element("div", { class: "chart" });
  let view = "time score", current = -1, place = null;

  const say = (point) => [`${point.name}: ${point.made}`, ...Object.values(figures).map((each) => each[2](point)),
    point.kind === "picked" ? "picked" : point.kind === "best" ? "on the frontier" : `${point.by} beats it`];

  function span(key) {
    const numbers = ranked.map((point) => point[key]).filter(known);
    let low = Math.min(...numbers), high = Math.max(...numbers);
    const wide = high - low || Math.abs(high) || 1;
    low -= wide * 0.08;
    high += wide * 0.08;
    return [key === "score" ? low : Math.max(0, low), high];
  }

  function mark(index, speak) {
    if (!place || index < 0) return;
    place.marks.forEach((each) => each.classList.remove("current"));
    current = index;
    place.marks[index].classList.add("current");
    place.svg.setAttribute("aria-valuenow", index + 1);
    place.svg.setAttribute("aria-valuetext", say(ranked[index]).join(", "));
    if (!speak) return;
    const frame = place.marks[index].getBoundingClientRect();
    showTip(say(ranked[index]), frame.left + frame.width / 2, frame.top);
  }

  function nearest(event) {
    const far = place.marks.map((each) => {
      const frame = each.getBoundingClientRect();
      return Math.hypot(frame.left + frame.width / 2 - event.clientX, frame.top + frame.height / 2 - event.clientY);
    });
    return far.indexOf(Math.min(...far));
  }

  function pressed(event) {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    mark(Math.max(0, Math.min(ranked.length - 1, current + steps[event.key])), true);
    event.preventDefault();
  }

  function draw(width) {
    const [across, up] = view.split(" ");
    const height = width < 500 ? 280 : 360;
    const edge = { left: 58, right: 18, top: 24, bottom: 46 };
    const [left, right] = span(across), [bottom, top] = span(up);
    const turned = up === "score" && !higher;
    const x = (value) => edge.left + (width - edge.left - edge.right) * (value - left) / (right - left);
    const y = (value) => {
      const part = known(value) ? (value - bottom) / (top - bottom) : 0;
      return edge.top + (height - edge.top - edge.bottom) * (turned ? part : 1 - part);
    };
    const svg = drawn("svg", {
      viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "slider", "aria-valuemin": 1, "aria-valuemax": ranked.length,
      "aria-valuenow": Math.max(current, 0) + 1, "aria-label": `All models, ${views[view]}, from the fastest to the slowest`,
    });
    for (const value of steps(bottom, top, 6)) {
      svg.append(drawn("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: y(value), y2: y(value) }));
      svg.append(drawn("text", { x: edge.left - 6, y: y(value) + 4, "text-anchor": "end" }, words(value, 4)));
    }
    for (const value of steps(left, right, width < 500 ? 4 : 8)) {
      svg.append(drawn("line", { class: "grid", x1: x(value), x2: x(value), y1: edge.top, y2: height - edge.bottom }));
      svg.append(drawn("text", { x: x(value), y: height - edge.bottom + 16, "text-anchor": "middle" }, words(value, 3)));
    }
    svg.append(drawn("text", { x: 4, y: 12 }, figures[up][1]));
    svg.append(drawn("text", { x: width - edge.right, y: height - 8, "text-anchor": "end" }, figures[across][1]));
    const marks = ranked.map((point) => {
      const made = drawn("circle", { class: `model ${point.kind}`, cx: x(point[across]), cy: y(point[up]), r: point.kind === "beaten" ? 4.5 : 6.5 });
      svg.append(made);
      return made;
    });
    svg.addEventListener("pointermove", (event) => mark(nearest(event), true));
    svg.addEventListener("pointerleave", hideTip);
    svg.addEventListener("focus", () => mark(Math.max(current, 0), true));
    svg.addEventListener("blur", hideTip);
    svg.addEventListener("keydown", pressed);
    place = { svg, marks };
    stage.replaceChildren(svg);
    if (current >= 0) mark(current, false);
  }

  let again = () => {};
  const pick = choices("view", "Show", Object.entries(views), view, (value) => { view = value; again(); });
  const kinds = [["best", "on the frontier"], ["beaten", "another one beats it in everything"]];
  if (ranked.some((point) => point.kind === "picked")) kinds.unshift(["picked", "picked"]);
  box.replaceChildren(element("div", { class: "controls" }, pick), stage, legend(kinds.map(([kind, said]) => [`model ${kind}`, said])));
  again = drawInto(stage, draw);
}

explainWords();
const there = (id) => document.getElementById(id);
const choose = there("explorer") && data.values.length ? explorer(there("explorer")) : null;
if (there("depth") && data.layers.length) depthPlot(there("depth"), (value) => choose && value && choose(value, true));
if (there("frontier-plot") && data.frontier) frontierPlot(there("frontier-plot"));
if (there("parting-chart") && data.parting) partingChart(there("parting-chart"));
if (there("plan-controls")) planFilter(there("plan-controls"));

// A link can name a value or a layer: #select=VALUE, #layer=NODE.
function follow() {
  const [key, name] = window.location.hash.slice(1).split(/=(.*)/s);
  let decoded = "";
  try { decoded = decodeURIComponent(name || ""); } catch { return; }
  if (key === "select" && choose) choose(decoded, true);
  if (key === "layer") moveTo(decoded);
}
window.addEventListener("hashchange", follow);
follow();
root.dataset.ready = "yes";
})();
