// The live tab: camera -> JPEG frames with their times -> WebSocket; samples back -> WebAudio.
// Asks for the camera alone. Everything it says comes from the page's own dictionary.
window.lip2speechLive = (() => {
  "use strict";
  const WIDTH = 480; // pixels sent; a face needs no more
  const AHEAD_S = 0.06; // sound is scheduled so far ahead, against jitter
  const RATE = 16000;
  const LATE_S = 0.3; // of sound waiting to be heard, beyond which pauses are shortened to catch up
  const QUIET = 0.01; // peak of what counts as a pause
  const FULL = 1 << 18; // bytes waiting in the socket beyond which a frame is left out
  const words = () => window.lip2speechWords[(navigator.language || "en").slice(0, 2)] || window.lip2speechWords.en;
  const el = (id) => document.getElementById("live-" + id);
  const stats = { frames: 0, sent: 0, chunks: 0, samples: 0, gaps: 0, first_sound_s: null, delay_s: null, sure: null, dropped: 0 };
  let audio = null, run = null;

  function say(key) { const e = el("status"); if (e) e.textContent = words()[key] || key; }

  // Sound may only begin from a click, so the click that asks for a ticket calls this.
  function unlock() {
    if (!audio) audio = new AudioContext();
    audio.resume();
  }

  async function start(answer) {
    const ticket = JSON.parse(answer);
    stop();
    if (ticket.error) { say(ticket.error); return; }
    Object.assign(stats, { frames: 0, sent: 0, chunks: 0, samples: 0, gaps: 0, first_sound_s: null, delay_s: null });
    say("opening");
    let camera;
    try {
      camera = await navigator.mediaDevices.getUserMedia({
        audio: false,
        video: { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 25 }, facingMode: "user" },
      });
    } catch (e) { say("no_camera"); return; }
    const video = el("video");
    video.srcObject = camera;
    await video.play();
    el("screen").style.aspectRatio = `${video.videoWidth} / ${video.videoHeight}`;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/live?ticket=${ticket.ticket}`);
    socket.binaryType = "arraybuffer";
    const r = (run = { camera, socket, video, canvas: document.createElement("canvas"), busy: false, zero: null, next: 0 });
    socket.onmessage = (m) => (typeof m.data === "string" ? show(JSON.parse(m.data)) : play(r, m.data));
    socket.onopen = () => { r.began = performance.now(); watch(r); };
    socket.onclose = (e) => { if (run === r) { stop(); say(e.code === 1013 ? "busy" : "closed"); } };
  }

  function watch(r) {
    const each = (now) => {
      if (run !== r) return;
      frame(r, now / 1000);
      again();
    };
    const again = () =>
      r.video.requestVideoFrameCallback
        ? r.video.requestVideoFrameCallback(each)
        : setTimeout(() => each(performance.now()), 40);
    again();
  }

  function frame(r, when) {
    stats.frames += 1;
    if (r.busy || r.socket.readyState !== 1 || r.socket.bufferedAmount > FULL || !r.video.videoWidth) return;
    const scale = Math.min(1, WIDTH / r.video.videoWidth);
    r.canvas.width = Math.round(r.video.videoWidth * scale);
    r.canvas.height = Math.round(r.video.videoHeight * scale);
    r.canvas.getContext("2d").drawImage(r.video, 0, 0, r.canvas.width, r.canvas.height);
    r.busy = true;
    if (r.zero === null) r.zero = when;
    r.canvas.toBlob(async (blob) => {
      r.busy = false;
      if (!blob || run !== r || r.socket.readyState !== 1) return;
      const packet = new Uint8Array(8 + blob.size);
      new DataView(packet.buffer).setFloat64(0, when - r.zero, true);
      packet.set(new Uint8Array(await blob.arrayBuffer()), 8);
      if (run !== r || r.socket.readyState !== 1) return;
      r.socket.send(packet);
      stats.sent += 1;
    }, "image/jpeg", 0.9);
  }

  function play(r, data) {
    const first = Number(new DataView(data).getBigInt64(0, true));
    const pcm = new Int16Array(data.slice(8));
    const wav = Float32Array.from(pcm, (v) => v / 32768);
    const now = audio.currentTime;
    stats.samples += pcm.length;
    if (r.next - now > LATE_S && wav.every((v) => Math.abs(v) < QUIET)) return;
    const buffer = audio.createBuffer(1, pcm.length, RATE);
    buffer.getChannelData(0).set(wav);
    if (r.next < now) { if (stats.chunks) stats.gaps += 1; r.next = now + AHEAD_S; }
    const source = audio.createBufferSource();
    source.buffer = buffer;
    source.connect(audio.destination);
    source.start(r.next);
    if (stats.first_sound_s === null) stats.first_sound_s = (performance.now() - r.began) / 1000 + (r.next - now);
    stats.delay_s = performance.now() / 1000 + (r.next - now) + (audio.outputLatency || 0) - (r.zero + first / RATE);
    r.next += buffer.duration;
    stats.chunks += 1;
  }

  function show(told) {
    const w = words();
    say(told.face ? "speaking" : "no_face");
    Object.assign(stats, { sure: told.sure, dropped: told.dropped, compute_ms: told.compute_ms });
    const overlay = el("overlay"), box = told.box;
    overlay.hidden = !box;
    if (box) {
      overlay.style.left = 100 * box[0] + "%";
      overlay.style.top = 100 * box[1] + "%";
      overlay.style.width = 100 * box[2] + "%";
      overlay.style.height = 100 * box[3] + "%";
    }
    if (told.crop) el("crop").src = "data:image/jpeg;base64," + told.crop;
    el("delay").textContent = stats.delay_s === null ? "" : `${w.delay} ${Math.round(1000 * stats.delay_s)} ms`;
    const meter = el("sure");
    meter.value = told.sure === null ? 0 : told.sure;
    el("sure-text").textContent = `${w.sure} ${told.sure === null ? w.not_known : Math.round(100 * told.sure) + " %"}`;
  }

  function stop() {
    const r = run;
    run = null;
    if (!r) return;
    r.camera.getTracks().forEach((track) => track.stop());
    r.video.srcObject = null;
    if (r.socket.readyState < 2) r.socket.close();
    el("overlay").hidden = true;
    say("stopped");
  }

  return { unlock, start, stop, stats };
})();
