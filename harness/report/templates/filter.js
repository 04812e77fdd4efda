// The filters of a listing: lines that do not match are hidden, and the form says how many are left to see.
function sift(listing) {
  const wanted = [...listing.querySelector("form.filter").elements].filter(({ name, value }) => name && value);
  const entries = [...listing.querySelectorAll(".entry")], rest = listing.querySelector("details.rest");
  for (const entry of entries) entry.hidden = wanted.some(({ name, value }) => entry.dataset[name] !== value);
  if (rest) {
    const left = [...rest.querySelectorAll(".entry")].filter((entry) => !entry.hidden).length;
    rest.hidden = !left;
    rest.querySelector("summary b").textContent = left;
    rest.open = left === entries.filter((entry) => !entry.hidden).length; // there is nothing else to see
  }
  tell(listing, entries);
}

function tell(listing, entries) {
  const left = entries.filter((entry) => !entry.hidden);
  const folded = left.filter((entry) => entry.parentElement.matches("details.rest:not([open])")).length;
  const told = `${left.length - folded} of ${entries.length} ${listing.dataset.noun} shown`;
  listing.querySelector("output").textContent = folded ? `${told}, ${folded} more folded below` : told;
}

for (const listing of document.querySelectorAll(".listing")) {
  const form = listing.querySelector("form.filter");
  form.hidden = false;
  form.addEventListener("input", () => sift(listing));
  form.addEventListener("submit", (event) => event.preventDefault());
  listing.querySelector("details.rest")?.addEventListener("toggle", () => tell(listing, [...listing.querySelectorAll(".entry")]));
  sift(listing);
}
