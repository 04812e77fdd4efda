// Draws the figures; on a phone nothing of them is wider than the screen: panels and legends stand below one another,
// long titles and names take several lines.
const LETTER = 6.5; // pixels of a letter, about

function lines(text, room) {
  const found = [""];
  for (const word of text.split(" ")) {
    const longer = found.at(-1) ? found.at(-1) + " " + word : word;
    if (longer.length * LETTER <= room || !found.at(-1)) found[found.length - 1] = longer;
    else found.push(word);
  }
  return found;
}

function names(part) {
  if (typeof part !== "object" || part === null) return [];
  const own = Array.isArray(part.domain) ? part.domain.filter((name) => typeof name === "string") : [];
  return own.concat(...Object.values(part).map(names));
}

function narrow(part, width) {
  if (typeof part.width === "number") part.width = Math.min(part.width, width);
  if (typeof part.title === "string") part.title = lines(part.title, width);
  if (part.columns > 1) part.columns = 1;
  const { x, y } = part.encoding ?? {};
  if (typeof x?.title === "string") x.title = lines(x.title, 0.75 * width);
  if (y?.type === "nominal") y.axis = { ...y.axis, labelExpr: "split(datum.label, ' ')", labelFontSize: 10, labelLimit: 150 };
  for (const kind of ["layer", "concat", "vconcat", "hconcat"]) (part[kind] ?? []).forEach((one) => narrow(one, width));
  return part;
}

function read(spec) {
  const drawn = JSON.parse(spec.textContent);
  if (innerWidth > 640) return drawn;
  const room = document.getElementById(spec.dataset.for).parentElement.clientWidth - 20;
  const known = names(drawn), longest = Math.max(0, ...known.map((name) => name.length)) * LETTER + 40;
  const columns = 2 * longest <= room ? 2 : 1, layout = { bottom: { anchor: "start", direction: "vertical", margin: 8 } };
  const legend = { orient: "bottom", columns, labelLimit: room / columns - 30, layout };
  drawn.config = { ...drawn.config, legend: { ...drawn.config?.legend, ...legend } };
  if (drawn.height?.step) drawn.height.step = Math.max(drawn.height.step, 12 * Math.max(...known.map((name) => name.split(" ").length)));
  if (drawn.concat || drawn.vconcat) return narrow(drawn, room - 90);
  return { ...narrow(drawn, room - 90), width: room, autosize: { type: "fit-x", contains: "padding" } };
}

for (const spec of document.querySelectorAll("script.spec")) {
  const actions = innerWidth > 640 && { export: true, source: false, compiled: false, editor: false };
  const options = { renderer: "svg", actions };
  vegaEmbed("#" + spec.dataset.for, read(spec), options)
    .then(() => document.getElementById(spec.dataset.for).dataset.drawn = "yes")
    .catch((error) => { console.error(error); throw error; });
}
