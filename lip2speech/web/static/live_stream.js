// The Live tab: camera -> JPEG frames with timestamps -> WebSocket; audio packets -> Web Audio.
// Requests the camera only, never the microphone. All texts come from i18n.yaml.
window.lip2speechLive = (() => {
  "use strict";
  const FRAME_WIDTH = 480; // pixels; enough for a face
  const JITTER_S = 0.06; // audio is scheduled this far in the future
  const SAMPLE_RATE = 16000;
  const MAX_BACKLOG_S = 0.3; // of scheduled audio, beyond which silent packets are skipped to catch up
  const SILENCE_PEAK = 0.01;
  const MAX_BUFFERED_BYTES = 1 << 18; // in the socket, beyond which frames are skipped
  const TRY_AGAIN_LATER = 1013;
  const CAMERA = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 25 }, facingMode: "user" };
  const el = (id) => document.getElementById("live-" + id);
  const newStats = () => ({
    frames: 0, sent: 0, packets: 0, samples: 0, underruns: 0, first_audio_s: null, delay_s: null,
    confidence: null, dropped_frames: 0,
  });
  const stats = newStats();
  let audio = null, session = null;

  function text(key) {
    const all = window.lip2speechMessages;
    return (all[(navigator.language || "en").slice(0, 2)] || all.en)[key] || key;
  }

  function showStatus(key) { const e = el("status"); if (e) e.textContent = text(key); }

  // Browsers allow audio only after a click, so the click on Start calls this.
  function unlock() {
    if (!audio) audio = new AudioContext();
    audio.resume();
  }

  async function start(answer) {
    const { token, error } = JSON.parse(answer);
    stop();
    if (error) { showStatus(error); return; }
    Object.assign(stats, newStats());
    showStatus("opening_camera");
    let camera;
    try {
      camera = await navigator.mediaDevices.getUserMedia({ audio: false, video: CAMERA });
    } catch { showStatus("camera_failed"); return; }
    const video = el("video");
    video.srcObject = camera;
    await video.play();
    el("screen").style.aspectRatio = `${video.videoWidth} / ${video.videoHeight}`;
    el("crop-label").textContent = text("mouth_crop");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/live?token=${token}`);
    socket.binaryType = "arraybuffer";
    const s = (session = {
      camera, socket, video, canvas: document.createElement("canvas"), encoding: false, start: null, nextTime: 0,
    });
    socket.onmessage = (m) => (typeof m.data === "string" ? showMessage(JSON.parse(m.data)) : play(s, m.data));
    socket.onopen = () => { s.opened = performance.now(); captureFrames(s); };
    socket.onclose = (e) => {
      if (session !== s) return;
      stop();
      showStatus(e.code === TRY_AGAIN_LATER ? "busy" : "connection_closed");
    };
  }

  function captureFrames(s) {
    const onFrame = (now) => {
      if (session !== s) return;
      sendFrame(s, now / 1000);
      schedule();
    };
    const schedule = () =>
      s.video.requestVideoFrameCallback
        ? s.video.requestVideoFrameCallback(onFrame)
        : setTimeout(() => onFrame(performance.now()), 40);
    schedule();
  }

  function sendFrame(s, time) {
    stats.frames += 1;
    const { video, canvas, socket } = s;
    if (s.encoding || socket.readyState !== 1 || socket.bufferedAmount > MAX_BUFFERED_BYTES || !video.videoWidth) return;
    const scale = Math.min(1, FRAME_WIDTH / video.videoWidth);
    canvas.width = Math.round(video.videoWidth * scale);
    canvas.height = Math.round(video.videoHeight * scale);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    s.encoding = true;
    if (s.start === null) s.start = time;
    canvas.toBlob(async (blob) => {
      s.encoding = false;
      if (!blob || session !== s || socket.readyState !== 1) return;
      const packet = new Uint8Array(8 + blob.size);
      new DataView(packet.buffer).setFloat64(0, time - s.start, true);
      packet.set(new Uint8Array(await blob.arrayBuffer()), 8);
      if (session !== s || socket.readyState !== 1) return;
      socket.send(packet);
      stats.sent += 1;
    }, "image/jpeg", 0.9);
  }

  function play(s, data) {
    const first = Number(new DataView(data).getBigInt64(0, true));
    const pcm = new Int16Array(data.slice(8));
    const wav = Float32Array.from(pcm, (v) => v / 32768);
    const now = audio.currentTime;
    stats.samples += pcm.length;
    if (s.nextTime - now > MAX_BACKLOG_S && wav.every((v) => Math.abs(v) < SILENCE_PEAK)) return;
    const buffer = audio.createBuffer(1, pcm.length, SAMPLE_RATE);
    buffer.getChannelData(0).set(wav);
    if (s.nextTime < now) { if (stats.packets) stats.underruns += 1; s.nextTime = now + JITTER_S; }
    const source = audio.createBufferSource();
    source.buffer = buffer;
    source.connect(audio.destination);
    source.start(s.nextTime);
    const wait = s.nextTime - now;
    if (stats.first_audio_s === null) stats.first_audio_s = (performance.now() - s.opened) / 1000 + wait;
    stats.delay_s = performance.now() / 1000 + wait + (audio.outputLatency || 0) - (s.start + first / SAMPLE_RATE);
    s.nextTime += buffer.duration;
    stats.packets += 1;
  }

  function showMessage(message) {
    const { face_detected, face_box, mouth_crop, confidence, dropped_frames, compute_ms } = message;
    showStatus(face_detected ? "speaking" : "face_missing");
    Object.assign(stats, { confidence, dropped_frames, compute_ms });
    showFaceBox(face_box);
    if (mouth_crop) el("crop").src = "data:image/jpeg;base64," + mouth_crop;
    el("delay").textContent = stats.delay_s === null ? "" : `${text("delay")}: ${Math.round(1000 * stats.delay_s)} ms`;
    el("confidence").value = confidence === null ? 0 : confidence;
    const shown = confidence === null ? text("confidence_unknown") : Math.round(100 * confidence) + " %";
    el("confidence-label").textContent = `${text("confidence")}: ${shown}`;
  }

  function showFaceBox(box) {
    const e = el("face-box");
    e.hidden = !box;
    if (!box) return;
    ["left", "top", "width", "height"].forEach((side, i) => { e.style[side] = 100 * box[i] + "%"; });
  }

  function stop() {
    const s = session;
    session = null;
    if (!s) return;
    s.camera.getTracks().forEach((track) => track.stop());
    s.video.srcObject = null;
    if (s.socket.readyState < 2) s.socket.close();
    el("face-box").hidden = true;
    showStatus("stopped");
  }

  return { unlock, start, stop, stats };
})();
