// Everything works without this. With it, pages show what changes while they are open, and ask
// before something is ended.
"use strict";

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) {
    event.preventDefault();
  }
});

const live = document.querySelector(".live");
let asked = false;

// inUse tells whether somebody types or chooses in the part that would be replaced.
function inUse() {
  const active = document.activeElement;
  return live.contains(active) && /^(INPUT|SELECT|TEXTAREA)$/.test(active.tagName);
}

// refresh takes over the page as it is now. Where that fails the one that is there stays.
async function refresh() {
  if (asked || document.hidden || inUse()) {
    return;
  }
  asked = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.redirected) {
      location.reload(); // somebody is not signed in any more
      return;
    }
    if (!answer.ok) {
      return;
    }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(".live");
    if (!fresh || inUse() || fresh.innerHTML === live.innerHTML) {
      return;
    }
    const focused = live.contains(document.activeElement) ? [...live.querySelectorAll("a, button")].indexOf(document.activeElement) : -1;
    live.replaceChildren(...fresh.childNodes);
    if (focused >= 0) {
      live.querySelectorAll("a, button")[focused]?.focus();
    }
    if (!fresh.dataset.events) {
      source?.close();
    }
  } catch {
    // the service is away; the next time it may be back
  } finally {
    asked = false;
  }
}

let source;
if (live?.dataset.events) {
  source = new EventSource(live.dataset.events);
  let due;
  source.addEventListener("run", () => {
    due ??= setTimeout(() => { due = undefined; refresh(); }, 500);
  });
  source.addEventListener("error", () => setTimeout(refresh, 2000));
}
if (live?.dataset.refresh) {
  setInterval(refresh, Number(live.dataset.refresh) * 1000);
  document.addEventListener("visibilitychange", refresh);
}
