// What a page shows while it happens. Everything else works without this.
"use strict";
(() => {
  const parse = (html) => new DOMParser().parseFromString(html, "text/html").body;

  // Makes an element like a fresh one, and leaves alone what is the same: what somebody typed, opened or has the focus in
  // stays, and nothing is read aloud again. Children with an id are known by it, the others by their place.
  const grow = (old, fresh) => {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    // What counts down is written here, as long as its end is the same.
    if (old.isEqualNode(fresh) || (old.dataset.ends && old.dataset.ends === fresh.dataset.ends)) return;
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const wanted = new Set([...fresh.children].map((child) => child.id));
    for (const child of [...old.children]) if (child.id && !wanted.has(child.id)) child.remove();
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const same = (other) => other && !other.id && other.nodeName === child.nodeName;
      const own = child.id ? [...old.children].find((other) => other.id === child.id) : same(at) ? at : undefined;
      if (!own) {
        old.insertBefore(child, at);
        continue;
      }
      if (own === at) at = at.nextSibling;
      else old.insertBefore(own, at);
      grow(own, child);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  };

  // Parts that the server sends take the place of those with the same id.
  const replace = (html) => {
    for (const fresh of [...parse(html).children]) {
      const old = document.getElementById(fresh.id);
      if (old) grow(old, fresh);
    }
    count();
  };

  // What is left until an end, each second, by the clock of the node.
  const ahead = Date.parse(document.body.dataset.now) - Date.now();
  const left = (seconds) => {
    const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
    const parts = [[days, "d"], [hours, "h"], [minutes, "min"], [seconds % 60, "s"]];
    const first = parts.findIndex(([number]) => number > 0);
    return first < 0 ? "0 s" : parts.slice(first, first + 3).map(([number, unit]) => `${number} ${unit}`).join(" ");
  };
  const count = () => {
    for (const place of document.querySelectorAll("[data-ends]")) {
      const seconds = Math.max(0, Math.floor((Date.parse(place.dataset.ends) - Date.now() - ahead) / 1000));
      const text = left(seconds);
      if (place.textContent !== text) place.textContent = text;
    }
  };

  // A file that is chosen goes into the field that it names; it is sent with the form and nowhere else.
  const takeFile = (chooser) => {
    chooser.parentElement.hidden = false;
    chooser.addEventListener("change", async () => {
      const [file] = chooser.files;
      const long = file && file.size > Number(chooser.dataset.bytesMax);
      chooser.setCustomValidity(long ? "This file is too long." : "");
      if (long) chooser.reportValidity();
      else if (file) document.getElementById(chooser.dataset.into).value = (await file.text()).trim();
    });
  };

  const append = (log, html) => {
    const end = window.innerHeight + window.scrollY >= document.body.offsetHeight - 80;
    // A stream that was taken up again begins at the beginning.
    for (const fresh of [...parse(html).children]) if (!fresh.id || !document.getElementById(fresh.id)) log.append(fresh);
    while (log.children.length > 2000) log.firstElementChild.remove();
    if (end) window.scrollTo(0, document.body.scrollHeight);
  };

  const watch = (place) => {
    const link = document.getElementById("link");
    const say = (text) => { if (link && link.textContent !== text) link.textContent = text; };
    const events = new EventSource(place.dataset.events);
    events.addEventListener("open", () => say("Live: this page shows changes by itself."));
    events.addEventListener("error", () => say("Not live: the connection is lost. Reload the page."));
    events.addEventListener("replace", (event) => replace(event.data));
    events.addEventListener("append", (event) => append(document.getElementById("log"), event.data));
    events.addEventListener("end", () => { events.close(); say("The end: nothing more will come. Reload this page to see what remains."); });
    window.addEventListener("pagehide", () => events.close());
  };

  // A transcript again in its own time: the records of this page appear one after the other.
  const replay = (controls) => {
    const records = [...document.querySelectorAll("#log > li")];
    const [play, speed, position, where] = ["play", "speed", "position", "where"].map((id) => document.getElementById(id));
    const gapMax = 3000;
    let timer = 0;
    const show = (count) => {
      records.forEach((record, at) => { record.hidden = at >= count; });
      position.value = count;
      where.textContent = `${count} of ${records.length}`;
    };
    const stop = () => { clearTimeout(timer); timer = 0; play.textContent = "Replay this page"; };
    const step = () => {
      const count = Number(position.value);
      if (count >= records.length) return stop();
      const gap = count === 0 ? 0 : records[count].dataset.at - records[count - 1].dataset.at;
      timer = setTimeout(() => {
        show(count + 1);
        records[count].scrollIntoView({ block: "nearest" });
        step();
      }, Math.min(Math.max(gap, 0), gapMax) / Number(speed.value));
    };
    play.addEventListener("click", () => {
      if (timer) return stop();
      if (Number(position.value) >= records.length) show(0);
      play.textContent = "Pause";
      step();
    });
    position.addEventListener("input", () => { stop(); show(Number(position.value)); });
    controls.hidden = records.length === 0;
  };

  const controls = document.getElementById("replay");
  if (controls) replay(controls);
  document.querySelectorAll("[data-into]").forEach(takeFile);
  document.querySelectorAll("[data-events]").forEach(watch);
  if (document.querySelector("[data-ends]") || document.querySelector("[data-events]")) {
    count();
    setInterval(count, 1000);
  }
})();
