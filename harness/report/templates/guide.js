// The rules of harness/report/advice.py in the reader's hands; tests compare the two on many wishes.
function unfit(one, wishes, values) {
  const views = wishes.data.flatMap((kind) => values.gives[kind]);
  const has = (...kinds) => kinds.some((kind) => wishes.data.includes(kind));
  if (wishes.data.length && !views.includes(one.view)) return "trains on " + one.view;
  if (wishes.data.length && one.reward && !has("pairs", "rankings", "reward"))
    return "needs a reward model, and there is none and nothing to train one on";
  if (wishes.data.length && one.judge && !has("judge")) return "needs a judge of new responses";
  if (wishes.models !== null && one.models > wishes.models) return `holds ${one.models} models at once`;
  const memory = one.peak_memory_bytes, seconds = one.device_seconds;
  if (wishes.memory_gb !== null && memory !== null && memory * wishes.scale > wishes.memory_gb * 1e9)
    return `took more than ${wishes.memory_gb} GB`;
  if (wishes.device_hours !== null && seconds !== null && seconds * wishes.scale > wishes.device_hours * 3600)
    return `took more than ${wishes.device_hours} device-hours`;
  return "";
}

function advise(values, wishes) {
  const found = adviseOne(values.candidates, values, wishes);
  const elsewhere = values.others.filter((other) => adviseOne(other, values, wishes).pick === found.pick).length;
  const clear = [...found.fit].every((one) => one.name === found.pick || found.clear.includes(one.name));
  const grade = found.grade === "B" && elsewhere && clear ? "A" : found.grade;
  return { ...found, grade: "ABCD"[Math.min(3, "ABCD".indexOf(grade) + found.doubts)] };
}

function adviseOne(candidates, values, wishes) {
  const leftOut = new Map();
  for (const one of candidates) {
    const why = unfit(one, wishes, values);
    if (why) leftOut.set(one.name, why);
  }
  const fit = candidates.filter((one) => !leftOut.has(one.name) && one.gold !== null);
  if (!fit.length) return { pick: "", grade: "D", tied: [], fit: [], clear: [], doubts: 0, leftOut };
  const tied = fit.filter((one) => !fit.some((other) => other.beats.includes(one.name)));
  const steady = wishes.needs.includes(values.needs.steady), unseen = wishes.needs.includes(values.needs.unseen);
  const known = (value) => (value === null ? Infinity : value);
  const order = (one) => steady
    ? [one.failed, known(one.seed_sd), one.answers, known(one.device_seconds)]
    : [one.answers, known(one.device_seconds), one.failed, known(one.seed_sd)];
  const before = (a, b) => {
    const x = order(a), y = order(b), i = x.findIndex((value, place) => value !== y[place]);
    return i >= 0 && x[i] < y[i];
  };
  const pick = tied.reduce((a, b) => (before(b, a) ? b : a));
  const alone = fit.length > 1 && fit.every((one) => one === pick || pick.beats.includes(one.name));
  const grade = alone && pick.agrees && !unseen ? "B" : "C";
  const best_first = [...tied].sort((a, b) => b.gold[0] - a.gold[0]).map((one) => one.name);
  return { pick: pick.name, grade, tied: best_first, fit, clear: pick.clear, doubts: pick.doubts.length, leftOut };
}

function readWishes(form) {
  const amount = (name) => (form.elements[name].value === "" ? null : Number(form.elements[name].value));
  const ticked = (name) => [...form.querySelectorAll(`input[name=${name}]:checked`)].map((box) => box.value);
  return { data: ticked("data"), memory_gb: amount("memory_gb"), device_hours: amount("device_hours"),
    models: amount("models"), scale: amount("scale") || 1, needs: ticked("needs") };
}

function show(form, values) {
  const wishes = readWishes(form), found = advise(values, wishes), out = form.querySelector("output");
  out.replaceChildren();
  const say = (text, names) => {
    const line = out.appendChild(document.createElement("p"));
    line.append(text);
    names.forEach((name, i) => {
      const link = document.createElement("a");
      link.href = "#" + values.rows[name];
      link.textContent = name;
      line.append(i ? ", " : " ", link);
    });
  };
  if (!found.pick) say("No contestant that has been measured fits: relax a constraint.", []);
  else say(`Grade ${found.grade} (${values.words.grades[found.grade]}):`, [found.pick]);
  if (found.tied.length > 1) {
    const by = wishes.needs.includes(values.needs.steady) ? values.words.spread : values.words.cost;
    say(`It comes first by ${by}, of those that the data cannot tell from the best of them:`, found.tied);
  }
  const pick = values.candidates.find((one) => one.name === found.pick);
  if (pick && wishes.memory_gb !== null && pick.peak_memory_bytes === null)
    say(`Whether it fits into memory is not known: ${values.words.untrained}.`, []);
  for (const why of new Set(found.leftOut.values()))
    say(`Left out (${why}):`, [...found.leftOut].filter(([, reason]) => reason === why).map(([name]) => name));
  if (wishes.scale !== 1) say(`Memory and time are extrapolated: ${wishes.scale} times what was measured.`, []);
  form.dataset.pick = found.pick;
  form.dataset.found = JSON.stringify({ pick: found.pick, grade: found.grade, tied: found.tied,
    leftOut: [...found.leftOut.keys()] });
}

for (const form of document.querySelectorAll("form.guide")) {
  const values = JSON.parse(document.getElementById(form.id + "-values").textContent);
  form.addEventListener("input", () => show(form, values));
  form.addEventListener("submit", (event) => event.preventDefault());
  show(form, values);
}
