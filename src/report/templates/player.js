"use strict";
// One player at a time; a line runs over the spectrogram and the pitch while it sounds; a click there seeks. The unit
// and the motif under that line are named below.
// The plotting area lies between these fractions of the width of a picture, as plots.py drew it.
const LEFT = Number(document.documentElement.dataset.plotLeft);
const RIGHT = Number(document.documentElement.dataset.plotRight);
const players = Array.from(document.querySelectorAll("audio"));

for (const player of players) {
  player.addEventListener("play", () => {
    for (const other of players) if (other !== player) other.pause();
  });
  const cell = player.closest(".sound");
  if (!cell) continue;
  const pictures = [cell.querySelector(".timeline")];
  const pitch = Array.from(player.closest(".card").querySelectorAll(".sound")).find((item) => !item.querySelector("audio"));
  if (pitch) pictures.push(pitch.querySelector(".timeline"));
  const sounding = cell.querySelector(".sounding");
  const rows = sounding ? JSON.parse(sounding.dataset.places) : [];
  const nameAt = (row, time) => row.names[row.ends.findIndex((end) => time < end)];
  const draw = () => {
    for (const picture of pictures.filter(Boolean)) {
      let line = picture.querySelector("i");
      if (!line) line = picture.appendChild(document.createElement("i"));
      line.style.left = 100 * (LEFT + ((RIGHT - LEFT) * player.currentTime) / (player.duration || 1)) + "%";
    }
    if (sounding) {
      const parts = rows.map((row) => [row.name, nameAt(row, player.currentTime)]).filter(([, name]) => name);
      sounding.textContent = parts.map((part) => part.join(" ")).join(" · ");
    }
    if (!player.paused) requestAnimationFrame(draw);
  };
  player.addEventListener("play", draw);
  player.addEventListener("seeked", draw);
  pictures[0].addEventListener("click", (event) => {
    const box = pictures[0].getBoundingClientRect();
    const part = ((event.clientX - box.left) / box.width - LEFT) / (RIGHT - LEFT);
    player.currentTime = Math.min(1, Math.max(0, part)) * (player.duration || 0);
    player.play();
  });
}
