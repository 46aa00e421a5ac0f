"use strict";
// Keys and buttons of the labelling page. The server renders all HTML and escapes all titles.

const at = (id) => document.getElementById(id);
const panel = at("panel");
const project = document.body.dataset.project; // the server may be started again for another one
const labels = [...at("answers").querySelectorAll("[data-label]")].map((b) => b.dataset.label);

// A page that lives holds its name; a page that is left keeps it for a reload. So a copy of a tab
// has a name of its own, and gets other titles.
const kept = JSON.parse(sessionStorage.getItem("tab") || "null");
sessionStorage.removeItem("tab");
const tab = (kept && kept.name) || Math.random().toString(36).slice(2);
const answered = (kept && kept.answered) || []; // what this tab labelled, for undo
addEventListener("pagehide", () => {
  sessionStorage.setItem("tab", JSON.stringify({ name: tab, answered: answered.slice(-100) }));
  navigator.sendBeacon("release", JSON.stringify({ tab, project })); // others may get the title
});
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  sessionStorage.removeItem("tab");
  once(async () => show(await askJson("next", {})));
});

let card = { title: null, strategy: null };
let rows = []; // [title, strategy] of each title in the panel
let pending = 0; // actions under way: an answer meanwhile would label a title unseen

async function ask(path, body) {
  let answer;
  try {
    const options = { method: "POST", headers: { "content-type": "application/json" } };
    answer = await fetch(path, body && { ...options, body: JSON.stringify({ tab, project, ...body }) });
  } catch {
    throw new Error("The server doesn't answer. No label is lost: start it again, then go on here.");
  }
  if (!answer.ok) {
    const error = await answer.json().catch(() => ({}));
    throw new Error(error.message || `The server failed (${answer.status}); its log says why.`);
  }
  return answer;
}
const askJson = async (path, body) => (await ask(path, body)).json();

function say(text, isError = false) {
  at("message").textContent = text;
  at("message").classList.toggle("error", isError);
}

// One action after the other; what fails is said, and can be tried again.
let last = Promise.resolve();
function once(work) {
  pending += 1;
  document.body.classList.add("busy");
  last = last.then(work).catch((error) => say(error.message, true));
  last = last.finally(() => {
    pending -= 1;
    document.body.classList.toggle("busy", pending > 0);
  });
  return last;
}

function show(answer) {
  if (answer.html !== undefined) {
    card = { title: answer.title, strategy: answer.strategy };
    at("card").innerHTML = answer.html;
  }
  at("counts").innerHTML = answer.counts;
}

// The figures follow at their own pace: one request at a time, and one more if labels came.
let figuresWanted = false;
let figuresRunning = false;
async function refreshFigures() {
  figuresWanted = true;
  if (figuresRunning) return;
  figuresRunning = true;
  at("figures").ariaBusy = "true";
  while (figuresWanted) {
    figuresWanted = false;
    const chosen = at("class");
    try {
      const path = chosen ? `status?class=${encodeURIComponent(chosen.value)}` : "status";
      const { html, deciding, labels: count } = await askJson(path);
      at("figures").innerHTML = html;
      at("deciding").innerHTML = deciding;
      at("figures").dataset.labels = count;
    } catch (error) {
      say(error.message, true);
    }
  }
  figuresRunning = false;
  at("figures").ariaBusy = "false";
}

const shortened = (text) => (text.length > 60 ? `${text.slice(0, 60)}…` : text);

async function write({ title, strategy }, label, next) {
  const answer = await askJson("answer", { title, strategy, label, next });
  answered.push({ title, before: answer.before });
  show(answer);
  say(`${label === null ? "Skipped" : shortened(label)}: ${shortened(title)}`);
  refreshFigures();
}

const actions = {
  answer: (label) => pending || card.title === null || once(() => write(card, label, true)),
  skip: () => actions.answer(null),
  undo: () =>
    once(async () => {
      const last = answered.at(-1) || { title: null, before: null };
      const answer = await askJson("undo", last);
      answered.pop();
      show(answer);
      say(answer.undone === null ? "There is nothing to undo." : `Undone: ${shortened(answer.undone)}`);
      refreshFigures();
    }),
  search: () => openPanel("Search", "Titles of the audit are not found: looking for them would spoil the score."),
  review: () =>
    once(async () => {
      const note =
        "Labels that the classifier contradicts most. Answer to confirm or correct. Where you correct " +
        "only such labels of the audit, the score becomes a little too high.";
      fill(await askJson("review"), () => openPanel("Review", note));
    }),
  words: () =>
    once(async () => {
      const chosen = at("class") ? { class: at("class").value } : {};
      // the words of an audit title would give its prediction away
      if (card.title !== null && card.strategy !== "audit") chosen.title = card.title;
      fill(await askJson(`words?${new URLSearchParams(chosen)}`), () => openPanel("Words that decide", ""));
    }),
  close: () => panel.close(),
};

function openPanel(name, note) {
  at("panel-name").textContent = name;
  at("panel-note").textContent = note;
  at("query").hidden = name !== "Search";
  if (name === "Search") at("panel-content").textContent = "";
  if (!panel.open) panel.showModal();
  if (name === "Search") at("q").select();
}

function fill(answer, before = () => {}) {
  before();
  rows = answer.rows || [];
  at("panel-content").innerHTML = answer.html;
  const first = at("panel-content").querySelector("li");
  if (first) first.focus();
}

function answerRow(item, label) {
  if (pending) return;
  once(async () => {
    const [title, strategy] = rows[item.dataset.row];
    await write({ title, strategy }, label, false);
    item.classList.add("done");
    item.querySelector(".given").textContent = label === null ? "skipped" : label;
    move(item, 1);
  });
}

function move(item, step) {
  const to = step > 0 ? item.nextElementSibling : item.previousElementSibling;
  if (to) to.focus();
}

at("query").addEventListener("submit", (event) => {
  event.preventDefault();
  const by = at("query").elements.by.value;
  once(async () => fill(await askJson(`search?${new URLSearchParams({ q: at("q").value, by })}`)));
});

// the title may be labelled now, or its prediction may have changed
panel.addEventListener("close", () => once(async () => show(await askJson("next", {}))));

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const item = button.closest("li");
  if (button.dataset.export) return exportIt(button);
  if (button.dataset.do) return actions[button.dataset.do]();
  if (button.dataset.label === undefined) return;
  if (item) answerRow(item, button.dataset.label);
  else actions.answer(button.dataset.label);
});

document.addEventListener("change", (event) => event.target.id === "class" && refreshFigures());

function labelOf(key) {
  if (key === "y") return labels[0];
  if (key === "n") return labels[1];
  return /^[1-9]$/.test(key) ? labels[key - 1] : undefined;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.matches("input[type=search], select")) return;
  const key = event.key.toLowerCase();
  const item = event.target.closest("li");
  const label = key === "s" ? null : labelOf(key);
  const done = () => event.preventDefault();
  if (panel.open) {
    if (item && label !== undefined) done(answerRow(item, label));
    else if (item && key === "arrowdown") done(move(item, 1));
    else if (item && key === "arrowup") done(move(item, -1));
    else if (key === "/" && !at("query").hidden) done(at("q").select());
    return;
  }
  const action = { u: "undo", "/": "search", r: "review", w: "words" }[key];
  if (label !== undefined) done(actions.answer(label));
  else if (action) done(actions[action]());
});

async function exportIt(button) {
  const what = button.dataset.export;
  at("exported").classList.remove("error");
  at("exported").textContent = "Writing …";
  try {
    const answer = await ask(`export/${what}`, {});
    if (what === "labels") {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await answer.blob());
      link.download = /filename="(.*)"/.exec(answer.headers.get("content-disposition"))[1];
      link.click();
      at("exported").textContent = `Downloaded ${link.download}.`;
    } else {
      const { path, note } = await answer.json();
      at("exported").textContent = `Saved ${path} (${note})`;
    }
  } catch (error) {
    at("exported").textContent = error.message;
    at("exported").classList.add("error");
  }
}

once(async () => show(await askJson("next", {})));
refreshFigures();
