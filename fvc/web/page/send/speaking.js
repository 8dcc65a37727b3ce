// What this side shows and says: camera and microphone -> set-ups and packets. The work is done in speak_worker.js.
import { FPS } from "./motion.js";
import { BITRATE, Microphone } from "./voice.js";

const VIDEO = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 }, facingMode: "user" };
const AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
const MOST_MISSED = 2 * FPS; // frames in a row that were left out and are said to be so; behind more comes a keyframe
const now = () => performance.now() / 1000;

export class Speaking {
  // handlers: setups({ first, full }), packet(packet), tick(), isSeen(isFound), failed(reason)
  static async open(video, context, modelHash, handlers) {
    const speaking = new Speaking();
    Object.assign(speaking, { video, handlers, began: null, last: -1, looked: -1, sounds: 0 });
    Object.assign(speaking, { isBusy: false, isOff: false, isPaused: false });
    speaking.count = { frames: 0, missed: 0, trackMs: 0, encodeMs: 0 };
    const { mediaDevices } = navigator;
    if (!mediaDevices) throw new Error("browsers give cameras only to pages from HTTPS or localhost");
    speaking.stream = await mediaDevices.getUserMedia({ video: VIDEO, audio: AUDIO })
      .catch(() => mediaDevices.getUserMedia({ video: VIDEO })); // without a microphone, or without leave to use it
    video.srcObject = speaking.stream;
    await video.play();
    if (speaking.stream.getAudioTracks().length) {
      speaking.microphone = await Microphone.open(speaking.stream, context, (packet) => speaking.hear(packet))
        .catch((error) => { speaking.mutedBy = String(error.message ?? error); });
    } else {
      speaking.mutedBy = "no microphone may be used";
    }
    await speaking.load(modelHash).catch((error) => {
      speaking.stop(); // no camera stays on for nothing
      throw error;
    });
    return speaking;
  }

  get soundBits() { // a second
    return this.microphone ? BITRATE : 0;
  }

  async load(modelHash) {
    this.worker = new Worker("/page/send/speak_worker.js", { type: "module" });
    await new Promise((resolve, reject) => {
      this.worker.onmessage = ({ data }) => (data.loaded ? resolve() : reject(new Error(data.error)));
      this.worker.onerror = () => reject(new Error("the landmark network cannot be loaded"));
      this.worker.postMessage({ load: { modelHash, audio: this.microphone?.audio ?? null } });
    });
    this.worker.onmessage = ({ data }) => (data.tick ? this.tick() : this.take(data));
  }

  start() { // somebody is there: frames are numbered from now on
    if (this.began === null) {
      this.began = now();
      this.microphone?.start(this.began);
    }
    this.wantsKeyframe = true;
  }

  tick() {
    this.handlers.tick();
    const time = now(), number = this.began === null ? null : Math.floor((time - this.began) * FPS);
    if (number !== null && this.isPaused) return; // nobody is there
    if (number - this.last > MOST_MISSED) this.wantsKeyframe = true;
    const isDue = number === null ? !this.setups && time >= this.looked + 1 / FPS : number > this.last;
    if (!isDue || this.isBusy) return;
    this.look(number, time).catch((error) => this.handlers.failed(String(error.message ?? error)));
  }

  async look(number, time) {
    Object.assign(this, { isBusy: true, looked: time });
    const canBeSeen = !this.isOff && this.video.readyState >= 2 && this.video.videoWidth > 0;
    const picture = canBeSeen ? await createImageBitmap(this.video) : null;
    const { sounds, wantsKeyframe } = this;
    this.wantsKeyframe = false;
    this.worker.postMessage({ picture, number, sounds, wantsKeyframe }, picture ? [picture] : []);
  }

  take({ packet, setups, isFound, trackMs, encodeMs, error }) {
    this.isBusy = false;
    if (error) {
      this.wantsKeyframe = true;
      this.handlers.failed(error);
      return;
    }
    if (!this.isOff) this.handlers.isSeen(isFound);
    const mean = (old, value) => (old ? 0.9 * old + 0.1 * value : value);
    if (isFound) this.count.trackMs = mean(this.count.trackMs, trackMs);
    if (setups) {
      this.setups = setups;
      this.handlers.setups(setups);
    }
    if (!packet) return;
    this.count.encodeMs = mean(this.count.encodeMs, encodeMs);
    this.send(packet);
  }

  send(packet) { // and empty ones for frames that were left out, so that the other side stays in step
    const first = Math.max(this.last + 1, packet.number - MOST_MISSED);
    for (let number = first; number < packet.number; number++, this.count.missed++)
      this.handlers.packet({ kind: 0, number, payload: new Uint8Array() });
    this.last = packet.number;
    this.count.frames++;
    this.handlers.packet(packet);
  }

  hear(packet) {
    this.sounds = packet.number + 1;
    this.handlers.packet(packet);
  }

  mute(isMuted) {
    for (const track of this.stream.getAudioTracks()) track.enabled = !isMuted;
  }

  hide(isOff) { // the camera's light goes out where the browser does so for tracks that are not enabled
    this.isOff = isOff;
    for (const track of this.stream.getVideoTracks()) track.enabled = !isOff;
  }

  stop() {
    this.worker.terminate();
    for (const track of this.stream.getTracks()) track.stop();
  }
}
