"use strict";
(() => {
  const readout = document.getElementById("readout");
  const show = (event) => {
    const cell = event.target.closest(".sq");
    if (cell) readout.textContent = cell.title;
  };
  const table = document.querySelector(".heat");
  table.addEventListener("mouseover", show);
  table.addEventListener("focusin", show);
  readout.textContent = "Point at a square for all its numbers.";

  const follow = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (!target || target.tagName !== "DETAILS") return;
    document.getElementById("inexact").checked = false;
    target.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", follow);
  follow();

  // Paper cannot be unfolded.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const fold of closed) fold.open = true;
  });
  addEventListener("afterprint", () => {
    for (const fold of closed) fold.open = false;
  });
})();
