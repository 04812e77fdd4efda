// The rules of harness/report/advice.py in the reader's hands; tests compare the two on many wishes.
const viewsOf = (wishes, values) => wishes.data.flatMap((kind) => values.gives[kind]);

function unfit(one, wishes, values) {
  const has = (...kinds) => kinds.some((kind) => wishes.data.includes(kind));
  if (wishes.start && one.start && one.start !== wishes.start) return `begins from ${one.start}`;
  if (wishes.data.length && !viewsOf(wishes, values).includes(one.view)) return "trains on " + one.view;
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
  const given = found.given === "B" && elsewhere && found.clear ? "A" : found.given;
  return { ...found, given, grade: "ABCD"[Math.min(3, "ABCD".indexOf(given) + found.doubts.length)] };
}

// pairs [a, b] of which a is significantly better, Holm over the pairs of these candidates alone
function significantlyBetter(found, alpha) {
  const names = new Set(found.map((one) => one.name));
  const leads = found.flatMap((one) => Object.entries(one.ahead)
    .filter(([other]) => names.has(other)).map(([other, lead]) => ({ a: one.name, b: other, p: lead.p })));
  leads.sort((x, y) => x.p - y.p);
  let left = found.length * (found.length - 1) / 2, adjusted = 0;
  return leads.filter((lead) => (adjusted = Math.max(adjusted, lead.p * left--)) <= alpha).map(({ a, b }) => [a, b]);
}

function firstOf(tied, steady, values) {
  const known = (value) => (value === null ? Infinity : value);
  const lowerEnd = (one) => (one.gold[1] === null ? -Infinity : one.gold[1]);
  const { cost, stability, last } = values.ties, decided = [];
  let left = tied;
  for (const { field, words, alike } of steady ? [...stability, ...cost] : [...cost, ...stability]) {
    const least = Math.min(...left.map((one) => known(one[field])));
    const kept = left.filter((one) => known(one[field]) <= least * (1 + alike));
    if (kept.length < left.length) decided.push(words);
    left = kept;
  }
  const best = left.reduce((a, b) => (lowerEnd(b) > lowerEnd(a) ? b : a));
  if (left.some((one) => lowerEnd(one) < lowerEnd(best))) decided.push(last);
  return { best, decided };
}

function adviseOne(candidates, values, wishes) {
  const leftOut = new Map();
  for (const one of candidates) {
    const why = unfit(one, wishes, values);
    if (why) leftOut.set(one.name, why);
  }
  const kept = candidates.filter((one) => !leftOut.has(one.name)), fit = kept.filter((one) => one.gold !== null);
  if (!fit.length) return { pick: "", given: "D", tied: [], decided: [], clear: false, doubts: [], leftOut };
  const won = significantlyBetter(kept, values.alpha);
  const tied = fit.filter((one) => !won.some(([a, b]) => b === one.name && fit.some((other) => other.name === a)));
  tied.sort((a, b) => b.gold[0] - a.gold[0]);
  const steady = wishes.needs.includes(values.needs.steady), unseen = wishes.needs.includes(values.needs.unseen);
  const { best: pick, decided } = firstOf(tied, steady, values);
  const others = fit.filter((one) => one !== pick);
  const alone = others.length && others.every((one) => won.some(([a, b]) => a === pick.name && b === one.name));
  const given = alone && pick.agrees && (!unseen || pick.unseen) ? "B" : "C";
  const clear = others.every((one) => pick.ahead[one.name]?.clear);
  return { pick: pick.name, given, tied: tied.map((one) => one.name), decided, clear, doubts: pick.doubts, leftOut };
}

function readWishes(form) {
  const amount = (name) => (form.elements[name].value === "" ? null : Number(form.elements[name].value));
  const ticked = (name) => [...form.querySelectorAll(`input[name=${name}]:checked`)].map((box) => box.value);
  return { data: ticked("data"), start: form.elements.start.value, memory_gb: amount("memory_gb"),
    device_hours: amount("device_hours"), models: amount("models"), scale: amount("scale") || 1, needs: ticked("needs") };
}

function gradeInWords({ grade, given, doubts }, grades) {
  if (!doubts.length) return `Grade ${grade}: ${grades[grade]}`;
  const lower = doubts.map((doubt) => doubt.toLowerCase()).join(", ");
  return `Grade ${grade}: the verdicts give ${given}, ${grades[given]}; lowered by a letter for each of: ${lower}`;
}

function cautions(pick, wishes, values) {
  const lacking = wishes.data.length && !wishes.start && pick.start_view;
  const found = [...values.said[pick.name].standing];
  if (lacking && !viewsOf(wishes, values).includes(pick.start_view)) found.push(values.said[pick.name].start);
  if (wishes.memory_gb !== null && pick.peak_memory_bytes === null)
    found.push(`Whether it fits into memory is not known: ${values.words.unmeasured}.`);
  if (wishes.needs.includes(values.needs.unseen)) found.push(values.words.other_prompts[pick.unseen]);
  return found;
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
  const pick = values.candidates.find((one) => one.name === found.pick);
  if (!pick) say("No contestant that has been measured fits: relax a constraint.", []);
  else say(`${gradeInWords(found, values.words.grades)}:`, [found.pick]);
  if (found.tied.length > 1) {
    const by = found.decided.length ? found.decided.join(", then ") : "its observed mean alone";
    say(`It comes first by ${by}, of those that the data cannot tell from the best of them:`, found.tied);
  }
  if (pick) for (const text of cautions(pick, wishes, values)) say(text, []);
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
