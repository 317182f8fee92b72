// Continuations of a recording: each is heard from the start, or only what is new.
function sampleItem(row, number) {
  const name = format(labels.sample, row.number);
  const clips = content.clips[number];
  const loops = row.loops.length
    ? format(labels.loops, row.loops.length, row.loops[0].start.toFixed(1))
    : labels.no_loops;
  const told = row.n_units
    ? [format(labels.told, row.seconds.toFixed(1), row.n_units), row.ended ? labels.ended : labels.cut, loops].join(" ")
    : labels.silent;
  const item = element(
    "li",
    { id: "sample-" + number, className: "sample" },
    element("h2", {}, name),
    element("p", {}, told),
    element(
      "div",
      { className: "row" },
      playButton(clips.whole, labels.whole, name + ": " + labels.whole),
      clips.alone ? playButton(clips.alone, labels.alone, name + ": " + labels.alone) : null,
    ),
  );
  item.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    const buttons = item.querySelectorAll("button");
    const key = event.key.toLowerCase();
    if (key === "l") buttons[0].click();
    else if (key === "c") buttons[buttons.length - 1].click();
    else if (key === "n" || key === "p") goTo(number + (key === "n" ? 1 : -1));
  });
  return item;
}

function goTo(number) {
  const item = document.getElementById("sample-" + number);
  if (item) item.querySelector("button").focus();
}

function begin() {
  const { model, recording, samples, voice, temperature, top_p, seed, longest_seconds } = content;
  screen_.replaceChildren(
    element("h1", {}, content.title),
    element("p", {}, format(labels.summary, model, recording, samples.length)),
    element("p", {}, labels.hint),
    element("div", { className: "row" }, playButton(content.prompt, labels.prompt, labels.prompt)),
    element("p", {}, format(labels.all_loops, content.n_with_loops, samples.length)),
    element("p", {}, element("small", {}, labels.keys)),
    element("ol", {}, ...samples.map(sampleItem)),
    element("p", {}, element("small", {}, format(labels.settings, voice, temperature, top_p, seed, longest_seconds))),
    element("p", { role: "status", id: "status" }),
  );
}

begin();
