// Leads through the prompts: camera, countdown, recording, upload, answer, next prompt without a video.
// Asks for the camera alone, never the microphone. Everything it says comes from words.yaml.
(() => {
  "use strict";
  const COUNT_S = 3;
  const SHORTEST_S = 0.7; // a slip of the finger
  const SPARE_S = 0.5; // it stops by itself so long before a video would be too long
  const BITS = 4e6; // per second: lips stay sharp at 640x480
  const TYPES = ["video/webm;codecs=vp8", "video/webm", "video/mp4"];
  const CAMERA = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 25 }, facingMode: "user" };
  const SETTLED = ["camera_off", "ready"]; // states in which one may move on
  const el = (id) => document.getElementById(id);

  // state: loading, camera_off, asking, ready, count_down, recording, saving, unsaved
  const run = { state: "loading", at: 0, prompts: [], said: null, last: null, blob: null, recorder: null, left: 0 };
  let words = {};

  const say = (key, values = {}) => (words[key] || "").replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const prompt = () => run.prompts[run.at]; // none on the last page
  const missing = () => run.prompts.filter((p) => !p.taken).length;
  const is = (...states) => states.includes(run.state);

  function tell(key, values) { run.said = key && { key, values }; }

  function go(state, key, values) {
    run.state = state;
    tell(key, values);
    render();
  }

  async function open() {
    render();
    let found;
    try {
      const answer = await fetch("state");
      if (!answer.ok) throw new Error(answer.status);
      found = await answer.json();
    } catch { el("status").textContent = "lip2speech does not answer."; return; }
    const language = (navigator.languages || []).map((l) => l.slice(0, 2)).find((l) => l in found.words) || "en";
    words = found.words[language];
    document.documentElement.lang = language;
    document.title = say("title");
    document.querySelectorAll("[data-word]").forEach((e) => { e.textContent = say(e.dataset.word); });
    el("camera").setAttribute("aria-label", say("camera"));
    el("command").textContent = found.next;
    el("privacy").textContent = say("privacy", found);
    Object.assign(run, { prompts: found.prompts, longest: found.longest_s, most: found.most_bytes });
    run.at = nextMissing(0);
    go("camera_off");
  }

  function nextMissing(from) {
    const all = run.prompts.length;
    for (let i = 0; i < all; i += 1) if (!run.prompts[(from + i) % all].taken) return (from + i) % all;
    return all;
  }

  function render() {
    const shown = prompt(), all = run.prompts.length, taken = all - missing();
    document.body.dataset.state = run.state;
    document.body.classList.toggle("end", !shown && all > 0);
    if (!all) return;
    el("where").textContent = shown ? say("where", { n: run.at + 1, all }) : "";
    el("where").dataset.taken = shown && shown.taken ? say("recorded") : "";
    el("count").textContent = say("count", { taken });
    el("bar").value = taken / all;
    el("prompt").textContent = shown ? shown.text : missing() ? say("left", { left: missing() }) : say("done", { all });
    el("prompt").lang = shown ? "" : document.documentElement.lang;
    el("status").textContent = run.said ? say(run.said.key, run.said.values) : usual(shown);
    el("status").classList.toggle("bad", Boolean(run.said) && !["kept", "discarded"].includes(run.said.key));
    el("command").hidden = Boolean(shown || missing());
    const label = button(shown);
    el("start").textContent = say(label || "start");
    el("start").hidden = !label;
    off(el("start"), is("asking", "saving"));
    off(el("back"), !is(...SETTLED) || run.at === 0);
    off(el("next"), !is(...SETTLED) || run.at === all);
    el("again").hidden = !is("ready", "camera_off") || run.last === null || run.last === run.at;
    el("again").textContent = run.last === null ? "" : say("again", { text: run.prompts[run.last].text });
  }

  function off(element, value) { element.setAttribute("aria-disabled", String(value)); }

  function usual(shown) {
    if (run.state === "ready" || (run.state === "camera_off" && !shown)) {
      if (!shown) return missing() ? "" : say("done_next");
      return say(shown.taken ? "ready_again" : "ready");
    }
    return say(run.state);
  }

  function button(shown) {
    const busy = { asking: "busy", saving: "busy", count_down: "cancel", recording: "stop", unsaved: "save_again" };
    if (is(...Object.keys(busy))) return busy[run.state];
    if (!shown) return missing() ? "go_on" : "";
    if (run.state === "camera_off") return "turn_on";
    return shown.taken ? "start_again" : "start";
  }

  function press() {
    if (is("unsaved")) return save();
    if (is("count_down")) return discard();
    if (is("recording")) return stop();
    if (!is("camera_off", "ready")) return undefined;
    if (!prompt()) return missing() ? move(nextMissing(0)) : undefined;
    return is("camera_off") ? turnOn() : countDown();
  }

  function move(to) {
    if (!is(...SETTLED) || to < 0 || to > run.prompts.length) return;
    run.at = to;
    go(run.state);
  }

  async function turnOn() {
    const types = window.MediaRecorder ? TYPES.filter((t) => MediaRecorder.isTypeSupported(t)) : [];
    if (!types.length || !navigator.mediaDevices) return go("camera_off", "old_browser");
    go("asking");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: CAMERA, audio: false });
      el("camera").srcObject = stream;
      await el("camera").play();
    } catch (error) {
      if (stream) stream.getTracks().forEach((track) => track.stop());
      const why = { NotAllowedError: "camera_refused", NotFoundError: "no_camera" };
      return go("camera_off", why[error.name] || "camera_busy");
    }
    Object.assign(run, { stream, type: types[0] });
    stream.getVideoTracks()[0].onended = lost;
    return go("ready");
  }

  function lost() {
    el("camera").srcObject = null;
    run.stream = null;
    if (is("saving", "unsaved")) return; // what was recorded is still whole
    end();
    go("camera_off", "camera_lost");
  }

  function countDown() {
    if (!is("ready") || !prompt()) return;
    run.left = COUNT_S;
    go("count_down");
    el("number").textContent = run.left;
    run.timer = setInterval(() => {
      run.left -= 1;
      el("number").textContent = run.left || "";
      if (!run.left) { end(); record(); }
    }, 1000);
  }

  function record() {
    const parts = [];
    let recorder;
    try {
      recorder = new MediaRecorder(run.stream, { mimeType: run.type, videoBitsPerSecond: BITS });
    } catch { return go("ready", "old_browser"); }
    run.recorder = recorder;
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstart = () => { if (run.recorder === recorder) begin(); };
    recorder.onstop = () => {
      if (run.recorder !== recorder) return; // discarded
      run.recorder = null;
      run.blob = new Blob(parts, { type: run.type });
      save();
    };
    return recorder.start();
  }

  function begin() {
    run.began = performance.now();
    go("recording");
    const tick = () => {
      const seconds = (performance.now() - run.began) / 1000;
      el("clock").textContent = seconds.toFixed(1);
      if (seconds > run.longest - SPARE_S) stop();
    };
    tick();
    run.timer = setInterval(tick, 100);
  }

  // The timer, and a recording that nobody wants.
  function end() {
    clearInterval(run.timer);
    const recorder = run.recorder;
    run.recorder = null;
    if (recorder && recorder.state !== "inactive") recorder.stop();
    el("number").textContent = el("clock").textContent = "";
  }

  function discard() {
    if (!is("count_down", "recording", "unsaved")) return;
    end();
    run.blob = null;
    settle("discarded");
  }

  function stop() {
    if (!is("recording")) return;
    const short = (performance.now() - run.began) / 1000 < SHORTEST_S;
    if (short) { end(); go("ready", "too_short"); return; }
    clearInterval(run.timer);
    el("clock").textContent = "";
    go("saving");
    run.recorder.stop();
  }

  async function save() {
    const shown = prompt();
    go("saving");
    if (run.blob.size > run.most) return drop("too_large");
    let told;
    try {
      const to = `takes/${encodeURIComponent(shown.name)}`;
      const answer = await fetch(to, { method: "PUT", body: run.blob, headers: { "Content-Type": run.type } });
      told = await answer.json();
    } catch { return go("unsaved", "no_answer"); }
    if (told.why === "kept") return kept(shown);
    if (["not_stored", "broken"].includes(told.why)) return go("unsaved", told.why, told);
    return drop(told.why in words ? told.why : "unfit", told);
  }

  function drop(key, values) {
    run.blob = null;
    settle(key, values);
    if (prompt().taken) el("status").textContent += " " + say("earlier_stays");
  }

  function kept(shown) {
    run.blob = null;
    shown.taken = true;
    run.last = run.at;
    run.at = nextMissing(run.at + 1);
    settle(prompt() ? "kept" : "");
  }

  function settle(key, values) { go(run.stream ? "ready" : "camera_off", key, values); }

  function again() {
    if (el("again").hidden) return;
    move(run.last);
    el("start").focus();
    if (is("camera_off")) return;
    countDown();
  }

  const allowed = (id, act) => (event) => {
    if (el(id).getAttribute("aria-disabled") === "true") return;
    act();
    if (event.detail > 0) el("start").focus(); // clicked, not typed: the space bar goes on with the recording
  };
  el("start").addEventListener("click", allowed("start", press));
  el("back").addEventListener("click", allowed("back", () => move(run.at - 1)));
  el("next").addEventListener("click", allowed("next", () => move(run.at + 1)));
  el("again").addEventListener("click", again);

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const typed = event.target instanceof HTMLButtonElement;
    if (event.repeat && [" ", "Enter"].includes(event.key)) event.preventDefault();
    else if (event.key === " " && !typed) { event.preventDefault(); press(); }
    else if (event.key === "ArrowLeft") move(run.at - 1);
    else if (event.key === "ArrowRight") move(run.at + 1);
    else if (event.key === "Escape") discard();
  });
  window.addEventListener("beforeunload", (event) => {
    if (is("recording", "saving", "unsaved")) event.preventDefault();
  });
  open();
})();
