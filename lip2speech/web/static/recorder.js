// Guides through the prompts: camera, countdown, recording, upload, result, next prompt without a recording.
// Requests the camera only, never the microphone. All texts come from i18n.yaml.
(() => {
  "use strict";
  const COUNTDOWN_S = 3;
  const MIN_DURATION_S = 0.7; // shorter recordings are accidental
  const STOP_MARGIN_S = 0.5; // recording stops this long before the maximum duration
  const BITS_PER_SECOND = 4e6; // keeps lips sharp at 640x480
  const MIME_TYPES = ["video/webm;codecs=vp8", "video/webm", "video/mp4"];
  const CAMERA = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 25 }, facingMode: "user" };
  const IDLE_STATES = ["camera_off", "ready"]; // states that allow another prompt to be selected
  const GOOD_NEWS = ["saved", "discarded"];
  const RETRY = ["write_failed", "incomplete"]; // results after which the same recording can be uploaded again
  const BUSY_LABELS = {
    asking_permission: "wait", saving: "wait", countdown: "cancel", recording: "stop", unsaved: "save_again",
  };
  const el = (id) => document.getElementById(id);

  // state: loading, camera_off, asking_permission, ready, countdown, recording, saving, unsaved
  const app = {
    state: "loading", index: 0, prompts: [], status: null, lastIndex: null, blob: null, recorder: null, secondsLeft: 0,
  };
  let messages = {};

  const text = (key, values = {}) => (messages[key] || "").replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const prompt = () => app.prompts[app.index]; // none on the last page
  const countMissing = () => app.prompts.filter((p) => !p.recorded).length;
  const is = (...states) => states.includes(app.state);

  function setState(state, key, values) {
    app.state = state;
    app.status = key && { key, values };
    render();
  }

  async function load() {
    render();
    let data;
    try {
      const response = await fetch("state");
      if (!response.ok) throw new Error(response.status);
      data = await response.json();
    } catch { el("status").textContent = "No answer from lip2speech."; return; }
    const language = (navigator.languages || []).map((l) => l.slice(0, 2)).find((l) => l in data.messages) || "en";
    messages = data.messages[language];
    document.documentElement.lang = language;
    document.title = text("title");
    document.querySelectorAll("[data-message]").forEach((e) => { e.textContent = text(e.dataset.message); });
    el("camera").setAttribute("aria-label", text("camera"));
    el("command").textContent = data.next_command;
    el("privacy").textContent = text("privacy", data);
    Object.assign(app, { prompts: data.prompts, maxDuration: data.max_duration_s, maxBytes: data.max_bytes });
    app.index = nextMissing(0);
    setState("camera_off");
  }

  function nextMissing(from) {
    const all = app.prompts.length;
    for (let i = 0; i < all; i += 1) if (!app.prompts[(from + i) % all].recorded) return (from + i) % all;
    return all;
  }

  function render() {
    const shown = prompt(), all = app.prompts.length, missing = countMissing();
    document.body.dataset.state = app.state;
    document.body.classList.toggle("end", !shown && all > 0);
    if (!all) return;
    el("position").textContent = shown ? text("position", { n: app.index + 1, all }) : "";
    el("position").dataset.recorded = shown && shown.recorded ? text("recorded") : "";
    el("count").textContent = text("count", { recorded: all - missing });
    el("progress").value = (all - missing) / all;
    el("prompt").textContent = promptText(shown, missing, all);
    el("prompt").lang = shown ? "" : document.documentElement.lang;
    el("status").textContent = app.status ? text(app.status.key, app.status.values) : defaultStatus(shown, missing);
    el("status").classList.toggle("bad", Boolean(app.status) && !GOOD_NEWS.includes(app.status.key));
    el("command").hidden = Boolean(shown || missing);
    renderButtons(shown, missing, all);
  }

  function promptText(shown, missing, all) {
    if (shown) return shown.text;
    return missing ? text("remaining", { remaining: missing }) : text("done", { all });
  }

  function renderButtons(shown, missing, all) {
    const label = recordLabel(shown, missing), last = app.lastIndex;
    el("record").textContent = text(label || "start");
    el("record").hidden = !label;
    setDisabled("record", is("asking_permission", "saving"));
    setDisabled("previous", !is(...IDLE_STATES) || app.index === 0);
    setDisabled("next", !is(...IDLE_STATES) || app.index === all);
    el("record-again").hidden = !is(...IDLE_STATES) || last === null || last === app.index;
    el("record-again").textContent = last === null ? "" : text("record_last_again", { text: app.prompts[last].text });
  }

  function setDisabled(id, value) { el(id).setAttribute("aria-disabled", String(value)); }

  function defaultStatus(shown, missing) {
    if (is("ready") || (is("camera_off") && !shown)) {
      if (!shown) return missing ? "" : text("done_next");
      return text(shown.recorded ? "ready_again" : "ready");
    }
    return text(app.state);
  }

  function recordLabel(shown, missing) {
    if (app.state in BUSY_LABELS) return BUSY_LABELS[app.state];
    if (!shown) return missing ? "go_to_missing" : "";
    if (is("camera_off")) return "turn_on_camera";
    return shown.recorded ? "record_again" : "start";
  }

  function pressRecord() {
    if (is("unsaved")) return upload();
    if (is("countdown")) return discard();
    if (is("recording")) return stop();
    if (!is(...IDLE_STATES)) return undefined;
    if (!prompt()) return countMissing() ? select(nextMissing(0)) : undefined;
    return is("camera_off") ? turnOnCamera() : startCountdown();
  }

  function select(index) {
    if (!is(...IDLE_STATES) || index < 0 || index > app.prompts.length) return;
    app.index = index;
    setState(app.state);
  }

  async function turnOnCamera() {
    const types = window.MediaRecorder ? MIME_TYPES.filter((t) => MediaRecorder.isTypeSupported(t)) : [];
    if (!types.length || !navigator.mediaDevices) return setState("camera_off", "unsupported_browser");
    setState("asking_permission");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: CAMERA, audio: false });
      el("camera").srcObject = stream;
      await el("camera").play();
    } catch (error) {
      if (stream) stream.getTracks().forEach((track) => track.stop());
      const keys = { NotAllowedError: "camera_denied", NotFoundError: "camera_missing" };
      return setState("camera_off", keys[error.name] || "camera_busy");
    }
    Object.assign(app, { stream, mimeType: types[0] });
    stream.getVideoTracks()[0].onended = onCameraLost;
    return setState("ready");
  }

  function onCameraLost() {
    el("camera").srcObject = null;
    app.stream = null;
    if (is("saving", "unsaved")) return; // the recording is complete
    reset();
    setState("camera_off", "camera_lost");
  }

  function startCountdown() {
    if (!is("ready") || !prompt()) return;
    app.secondsLeft = COUNTDOWN_S;
    setState("countdown");
    el("countdown").textContent = app.secondsLeft;
    app.timer = setInterval(() => {
      app.secondsLeft -= 1;
      el("countdown").textContent = app.secondsLeft || "";
      if (!app.secondsLeft) { reset(); record(); }
    }, 1000);
  }

  function record() {
    const chunks = [];
    let recorder;
    try {
      recorder = new MediaRecorder(app.stream, { mimeType: app.mimeType, videoBitsPerSecond: BITS_PER_SECOND });
    } catch { return setState("ready", "unsupported_browser"); }
    app.recorder = recorder;
    recorder.ondataavailable = (event) => chunks.push(event.data);
    recorder.onstart = () => { if (app.recorder === recorder) onRecordingStart(); };
    recorder.onstop = () => {
      if (app.recorder !== recorder) return; // discarded
      app.recorder = null;
      app.blob = new Blob(chunks, { type: app.mimeType });
      upload();
    };
    return recorder.start();
  }

  function onRecordingStart() {
    app.startTime = performance.now();
    setState("recording");
    const tick = () => {
      const seconds = (performance.now() - app.startTime) / 1000;
      el("elapsed").textContent = seconds.toFixed(1);
      if (seconds > app.maxDuration - STOP_MARGIN_S) stop();
    };
    tick();
    app.timer = setInterval(tick, 100);
  }

  // Stops the timer and drops the current recording.
  function reset() {
    clearInterval(app.timer);
    const recorder = app.recorder;
    app.recorder = null;
    if (recorder && recorder.state !== "inactive") recorder.stop();
    el("countdown").textContent = el("elapsed").textContent = "";
  }

  function discard() {
    if (!is("countdown", "recording", "unsaved")) return;
    reset();
    app.blob = null;
    setIdle("discarded");
  }

  function stop() {
    if (!is("recording")) return;
    const tooShort = (performance.now() - app.startTime) / 1000 < MIN_DURATION_S;
    if (tooShort) { reset(); setState("ready", "too_short"); return; }
    clearInterval(app.timer);
    el("elapsed").textContent = "";
    setState("saving");
    app.recorder.stop();
  }

  async function upload() {
    const shown = prompt();
    setState("saving");
    if (app.blob.size > app.maxBytes) return onRejected("too_large");
    let result;
    try {
      const url = `recordings/${encodeURIComponent(shown.name)}`;
      const headers = { "Content-Type": app.mimeType };
      result = await (await fetch(url, { method: "PUT", body: app.blob, headers })).json();
    } catch { return setState("unsaved", "no_answer"); }
    if (result.reason === "saved") return onSaved(shown);
    if (RETRY.includes(result.reason)) return setState("unsaved", result.reason, result);
    return onRejected(result.reason in messages ? result.reason : "unusable", result);
  }

  function onRejected(key, values) {
    app.blob = null;
    setIdle(key, values);
    if (prompt().recorded) el("status").textContent += " " + text("earlier_kept");
  }

  function onSaved(shown) {
    app.blob = null;
    shown.recorded = true;
    app.lastIndex = app.index;
    app.index = nextMissing(app.index + 1);
    setIdle(prompt() ? "saved" : "");
  }

  function setIdle(key, values) { setState(app.stream ? "ready" : "camera_off", key, values); }

  function recordLastAgain() {
    if (el("record-again").hidden) return;
    select(app.lastIndex);
    el("record").focus();
    if (is("camera_off")) return;
    startCountdown();
  }

  const ifEnabled = (id, action) => (event) => {
    if (el(id).getAttribute("aria-disabled") === "true") return;
    action();
    if (event.detail > 0) el("record").focus(); // after a mouse click, so that the space bar records
  };
  el("record").addEventListener("click", ifEnabled("record", pressRecord));
  el("previous").addEventListener("click", ifEnabled("previous", () => select(app.index - 1)));
  el("next").addEventListener("click", ifEnabled("next", () => select(app.index + 1)));
  el("record-again").addEventListener("click", recordLastAgain);

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const onButton = event.target instanceof HTMLButtonElement;
    if (event.repeat && [" ", "Enter"].includes(event.key)) event.preventDefault();
    else if (event.key === " " && !onButton) { event.preventDefault(); pressRecord(); }
    else if (event.key === "ArrowLeft") select(app.index - 1);
    else if (event.key === "ArrowRight") select(app.index + 1);
    else if (event.key === "Escape") discard();
  });
  window.addEventListener("beforeunload", (event) => {
    if (is("recording", "saving", "unsaved")) event.preventDefault();
  });
  load();
})();
