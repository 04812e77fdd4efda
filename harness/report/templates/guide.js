// The rules of harness/report/advice.py and the sentences of advice_words.py in the reader's hands; tests compare them.
const viewsOf = (wishes, values) => wishes.data.flatMap((kind) => values.gives[kind]);
const stretched = ({ scale }) => (scale === 1 ? "" : ` (extrapolated: ${scale.toFixed(1)} times that of the model here)`);

function unfit(one, wishes, values) {
  const has = (...kinds) => kinds.some((kind) => wishes.data.includes(kind));
  if (wishes.start && one.start && one.start !== wishes.start) return `begins from ${one.start}`;
  if (one.is_start) return "";
  if (wishes.data.length && !viewsOf(wishes, values).includes(one.view)) return "trains on " + one.view;
  if (wishes.data.length && one.reward && !has("pairs", "rankings", "reward"))
    return "needs a reward model, and there is none and nothing to train one on";
  if (wishes.data.length && one.judge && !has("judge")) return "needs a judge of new responses";
  if (wishes.models !== null && one.models > wishes.models) return `holds ${one.models} models at once`;
  const memory = one.peak_memory_bytes, seconds = one.device_seconds;
  if (wishes.memory_gb !== null && memory !== null && memory * wishes.scale > wishes.memory_gb * 1e9)
    return `needs more than ${wishes.memory_gb} GB of memory${stretched(wishes)}`;
  if (wishes.device_hours !== null && seconds !== null && seconds * wishes.scale > wishes.device_hours * 3600)
    return `took more than ${wishes.device_hours} device-hours${stretched(wishes)}`;
  return "";
}

function advise(values, wishes) {
  const found = adviseOne(values.candidates, values, wishes);
  const wins = (one) => one.given === "B" && one.clear;
  const elsewhere = values.others.map((other) => adviseOne(other, values, wishes)).some((one) => one.pick === found.pick && wins(one));
  const given = wins(found) && elsewhere ? "A" : found.given;
  return { ...found, given, grade: "ABCD"[Math.min(3, "ABCD".indexOf(given) + found.doubts.length)] };
}

// the leads of these candidates, each with p adjusted: Holm over the pairs of these alone
function adjusted(found) {
  const names = new Set(found.map((one) => one.name));
  const leads = found.flatMap((one) => Object.entries(one.ahead)
    .filter(([other]) => names.has(other)).map(([other, lead]) => ({ a: one.name, b: other, p: lead.p })));
  leads.sort((x, y) => x.p - y.p);
  let left = found.length * (found.length - 1) / 2, most = 0;
  return leads.map((lead) => ({ ...lead, adjusted: Math.min(1, most = Math.max(most, lead.p * left--)) }));
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
  const kept = candidates.filter((one) => !leftOut.has(one.name));
  const measured = kept.filter((one) => one.gold !== null).sort((a, b) => b.gold[0] - a.gold[0]);
  if (!measured.length) return { pick: "", given: "D", tied: [], decided: [], clear: false, doubts: [], why: [], leftOut };
  const sure = measured.filter((one) => one.is_start || one.gold[1] !== null);
  const fit = sure.every((one) => one.is_start) ? measured : sure, thin = kept.filter((one) => !fit.includes(one) && one.start);
  const leads = adjusted(kept), won = leads.filter((lead) => lead.adjusted <= values.alpha);
  const ranks = new Set(namesOf(fit)), beats = won.filter(({ a }) => ranks.has(a));
  const tied = fit.filter((one) => !beats.some(({ b }) => b === one.name)), fine = tied.filter((one) => !one.bad);
  const good = fine.length ? fine : tied, bad = tied.filter((one) => !good.includes(one));
  const behind = good.filter((one) => good.some((other) => other.ahead[one.name]?.clear));
  const sound = good.filter((one) => !behind.includes(one));
  const steady = wishes.needs.includes(values.needs.steady), unseen = wishes.needs.includes(values.needs.unseen);
  const { best: first, decided } = firstOf(sound, steady, values);
  const others = fit.filter((one) => one !== first), rest = [...others, ...thin.filter((one) => one.gold !== null)];
  const { doubts } = values.words, whole = candidates.every((one) => one.gold === null || kept.includes(one));
  const beaten = others.filter((one) => won.some(({ a, b }) => a === first.name && b === one.name));
  const why = [];
  const agrees = first.one_sign && !beaten.some((one) => first.ahead[one.name].opposed);
  if (!rest.length || beaten.length < rest.length)
    why.push(tied.length > 1 ? doubts.tied : rest.length ? doubts.short : doubts.nobody);
  if (!agrees) why.push(doubts.disagree);
  if (unseen && !first.unseen) why.push(doubts.unseen);
  return { pick: first.name, given: why.length ? "C" : "B", tied: tied.map((one) => one.name),
    decided: sound.length === 1 && tied.length > 1 ? [values.ties.alone] : decided,
    clear: rest.length > 0 && rest.every((one) => first.ahead[one.name]?.clear), doubts: first.doubts, why, leftOut,
    choice: { first, fit, thin, whole, agrees, tied, bad, behind, sound, others, beaten, leads, pairs: kept.length * (kept.length - 1) / 2 } };
}

function readWishes(form) {
  const amount = (name) => (form.elements[name].value === "" ? null : Number(form.elements[name].value));
  const ticked = (name) => [...form.querySelectorAll(`input[name=${name}]:checked`)].map((box) => box.value);
  return { data: ticked("data"), start: form.elements.start.value, memory_gb: amount("memory_gb"),
    device_hours: amount("device_hours"), models: amount("models"), scale: amount("scale") || 1, needs: ticked("needs") };
}

// numbers and lists as harness/report/sheet.py writes them
const number = (value, digits = 2) => {
  const text = value.toFixed(digits).replace(/\B(?=(\d{3})+(?!\d))(?<!\.\d*)/g, ",");
  return /[1-9]/.test(text) ? text.replace("-", "−") : text.replace("-", "");
};
const count = (many, one) => `${many} ${one}${many === 1 ? "" : "s"}`;
const listed = (names) => [names.slice(0, -1).join(", "), ...names.slice(-1)].filter(Boolean).join(" and ");
const named = (names) => (names.length <= 7 ? listed(names) : `${names.slice(0, 6).join(", ")} and ${names.length - 6} more`);
const hours = (seconds) =>
  (seconds < 3600 ? `${number(seconds, 0)} device-seconds` : `${number(seconds / 3600, 1)} device-hours`);
const mebibytes = (bytes) =>
  (bytes >= 10 * 2 ** 30 ? `${number(bytes / 2 ** 30, 1)} GiB` : `${number(bytes / 2 ** 20, 0)} MiB`);
const chance = (p) => (p < 0.001 ? "< 0.001" : `= ${p.toFixed(3)}`);
const fill = (text, given) => text.replace(/\{(\w+)\}/g, (_, name) => given[name]);
const namesOf = (found) => found.map((one) => one.name);

function gradeInWords({ pick, grade, given, doubts, why }, grades) {
  const small = (texts) => listed(texts.map((text) => text.toLowerCase()));
  const meaning = given === "C" && why.length ? `since ${small(why)}` : grades[given];
  if (!pick || !doubts.length) return `grade ${grade}: ${meaning}`;
  const guess = grade === "D" ? ", which makes it a guess, not a finding" : "";
  return `grade ${grade}: the verdicts give ${given}, ${meaning}; lowered by a letter for each of: ${small(doubts)}${guess}`;
}

// every sentence below is of the choice that adviseOne made: { text, rows, table }
const sayer = ({ words }) => (kind, found, given = {}, table = "main") =>
  ({ text: fill(words[kind], given), rows: namesOf(found), table });
const inTable = (table) => (text, ...rows) => ({ text, rows, table });

function chosen({ first, tied, others, beaten }, decided, say, words) {
  const pick = first.name;
  if (tied.length > 1)
    return say("tie", tied, { best: tied[0].name, others: named(namesOf(tied.slice(1))), pick,
      by: decided.join(", then ") || words.mean });
  const kind = !others.length ? "only" : beaten.length === others.length ? "wins" : "unbeaten";
  return say(kind, [first, ...others], { pick, others: named(namesOf(others)) });
}

function aside({ first, bad, behind, thin }, say) {
  const held = listed(bad.map((one) => `${one.name} (${one.bad})`)), margin = number(first.margin);
  return [...(bad.length ? [say("bad", bad, { bad: held })] : []),
    ...(behind.length ? [say("behind", behind, { margin, behind: listed(namesOf(behind)) })] : []),
    ...(thin.length ? [say("thin", thin, { thin: listed(namesOf(thin)) })] : [])];
}

function rival({ first, tied, leads, pairs }, values, say) {
  const other = tied.find((one) => one !== first), ahead = other && first.ahead[other.name];
  const [above, below] = ahead ? [first, other] : [other, first], lead = above?.ahead[below.name];
  if (!lead) return [];
  const both = [above, below], many = count(pairs, "pair");
  const p = leads.find(({ a, b }) => a === above.name && b === below.name).adjusted;
  const found = [say("pair", both, { above: above.name, below: below.name, difference: number(lead.difference),
    low: number(lead.low), high: number(lead.high), p: chance(lead.p), adjusted: chance(p), pairs: many }, "pairs")];
  if (lead.p <= values.alpha && below === first) found.push(say("both", both, { pairs: many }, "pairs"));
  return [...found, needed(both, lead, values, say)];
}

function needed(both, lead, { words }, say) {
  const margin = number(both[0].margin), { more_seeds: seeds, more_prompts: prompts } = lead;
  if (lead.equivalent || seeds === 0) return say(lead.equivalent ? "equivalent" : "found", both, { margin }, "pairs");
  if (seeds === null && prompts === null) return say("hopeless", both, { margin }, "pairs");
  const spent = both.reduce((sum, one) => sum + (one.seed_seconds ?? 0), 0);
  const given = { seeds: fill(words.seeds, { seeds: count(seeds, "more seed"), hours: hours(seeds * spent) }),
    prompts: count(prompts, "more test prompt") };
  const kind = seeds === null ? "no_seeds" : prompts === null ? "no_prompts" : "either";
  return say("needed", both, { margin, ways: fill(words[kind], given) }, "pairs");
}

function spread({ first, fit, sound }, { words }, say) {
  const others = (sound.length > 1 ? sound : fit).filter((one) => one !== first && one.seed_sd !== null);
  if (first.seed_sd === null) return [say("no_spread", [first], { pick: first.name }, "candidates")];
  if (!others.length) return [];
  const sds = others.map((one) => one.seed_sd), [low, high] = [Math.min(...sds), Math.max(...sds)].map((sd) => number(sd));
  return [say("spread", [first, ...others], { pick: first.name, sd: number(first.seed_sd), others: named(namesOf(others)),
    range: low === high ? low : fill(words.range, { low, high }) }, "candidates")];
}

function cost(pick, wishes, { words }, say) {
  const costs = [`${count(pick.models, "model")} in memory at once`], { scale } = wishes;
  if (pick.answers !== 1) costs.push(fill(words.answers, { answers: number(pick.answers, 1) }));
  if (pick.device_seconds !== null) {
    const search = pick.tuning_seconds ? fill(words.tuning, { hours: hours(pick.tuning_seconds * scale) }) : "";
    costs.push(fill(words.seconds, { hours: hours(pick.device_seconds * scale) }) + search);
  }
  if (pick.peak_memory_bytes !== null) costs.push(fill(words.memory, { memory: mebibytes(pick.peak_memory_bytes * scale) }));
  return say(pick.is_start ? "start_cost" : "cost", [pick], { costs: costs.join(", "), stretched: stretched(wishes) }, "candidates");
}

function cautions({ first: pick, agrees }, wishes, values, say) {
  const main = inTable("main"), found = pick.doubts.map((doubt) => main(`${doubt}, so that the grade is one lower.`));
  const lacking = wishes.data.length && !wishes.start && pick.start_view;
  if (lacking && !viewsOf(wishes, values).includes(pick.start_view))
    found.push(main(values.said[pick.name].start, pick.name));
  if (wishes.memory_gb !== null && pick.peak_memory_bytes === null)
    found.push(say("unknown_memory", [pick], { pick: pick.name }, "candidates"));
  if (!agrees) found.push(main(values.words.disagree, pick.name));
  if (wishes.needs.includes(values.needs.unseen)) found.push(main(values.words.other_prompts[pick.unseen]));
  return found;
}

function sentences(found, wishes, values) {
  const say = sayer(values), reasons = [...new Set(found.leftOut.values())];
  const leftOut = reasons.map((why) => {
    const out = [...found.leftOut.keys()].filter((name) => found.leftOut.get(name) === why);
    return { text: fill(values.words.left_out, { names: listed(out), why }), rows: out, table: "candidates" };
  });
  if (!found.pick) return [say(values.candidates.some((one) => one.gold !== null) ? "relax" : "nothing", []), ...leftOut];
  const { choice } = found, { first } = choice, said = values.said[first.name], steady = wishes.needs.includes(values.needs.steady);
  return [
    chosen(choice, found.decided, say, values.words), ...aside(choice, say), ...rival(choice, values, say),
    ...said.standing.map((text) => inTable("main")(text, first.name)),
    ...(choice.whole ? said.chance : []).map((text) => inTable("stability")(text, first.name)),
    ...(steady ? spread(choice, values, say) : []), cost(first, wishes, values, say),
    ...cautions(choice, wishes, values, say), ...leftOut,
  ];
}

function show(form, values) {
  const wishes = readWishes(form), found = advise(values, wishes), out = form.querySelector("output");
  out.replaceChildren();
  const head = { text: `${found.pick || "no pick"} (${gradeInWords(found, values.words.grades)})`, rows: found.pick ? [found.pick] : [], table: "main" };
  for (const { text, rows, table } of [head, ...sentences(found, wishes, values)]) {
    const line = out.appendChild(document.createElement("p"));
    line.append(text);
    const names = table === "pairs" ? [[...rows].sort().join(" and ")] : rows;
    [...names.map((name) => [name, values.rows[table][name]]), ...(values.places[text] ?? [])].forEach(([name, place]) => {
      const link = document.createElement("a");
      link.href = "#" + place;
      link.textContent = name;
      line.append(" ", link);
    });
  }
  form.dataset.pick = found.pick;
}

for (const form of document.querySelectorAll("form.guide")) {
  const values = JSON.parse(document.getElementById(form.id + "-values").textContent);
  form.addEventListener("input", () => show(form, values));
  form.addEventListener("submit", (event) => event.preventDefault());
  show(form, values);
}
