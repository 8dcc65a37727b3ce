// The microphone -> packets of sound: Opus by WebCodecs, mono, 60 ms, on the line of time of the frames.
import { AUDIO } from "./datagrams.js";

const RATE = 48000, FRAME_MS = 60, SIZE = (RATE * FRAME_MS) / 1000;
export const BITRATE = 6000; // as `fvc call`
const OFF = 0.04; // seconds that samples may come before or after their time before they are moved
const WINDOW = 20; // seconds over which the least delay of the samples' messages is known
const CODING = {
  codec: "opus", sampleRate: RATE, numberOfChannels: 1, bitrate: BITRATE,
  opus: { frameDuration: FRAME_MS * 1000, application: "voip", signal: "voice" },
};

export class Microphone {
  // stream: of getUserMedia, with sound; take(packet)
  static async open(stream, context, take) {
    if (typeof AudioEncoder === "undefined") throw new Error("this browser cannot encode sound");
    const microphone = new Microphone();
    Object.assign(microphone, { take, began: null, filled: 0, offsets: [], place: null, next: 0 });
    microphone.frame = new Float32Array(SIZE);
    await microphone.startEncoder();
    await context.audioWorklet.addModule("/page/send/voice_worklet.js");
    const form = { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" };
    const node = new AudioWorkletNode(context, "fvc-voice", form);
    node.port.onmessage = ({ data }) => microphone.hear(data);
    context.createMediaStreamSource(stream).connect(node);
    microphone.node = node; // else it is collected as garbage
    return microphone;
  }

  async startEncoder() { // a first one says how many samples to skip
    const known = new Promise((resolve, reject) => {
      const output = (_, metadata) => resolve(metadata?.decoderConfig?.description);
      const probe = new AudioEncoder({ output, error: reject });
      probe.configure(CODING);
      this.encode(0, probe);
      probe.flush().then(() => probe.close(), reject);
    });
    const head = await known, bytes = new Uint8Array(head?.buffer ?? head ?? 0, head?.byteOffset ?? 0);
    this.audio = { frameMs: FRAME_MS, preSkip: bytes.length >= 12 ? bytes[10] | (bytes[11] << 8) : 312 }; // RFC 7845, 5.1
    this.numbers = []; // of the frames that are being encoded: each becomes a packet
    this.encoder = new AudioEncoder({ output: (chunk) => this.give(chunk), error: () => { this.encoder = null; } });
    this.encoder.configure(CODING);
  }

  start(began) { // the time of frame 0, in seconds
    this.began = began;
  }

  hear({ start, piece }) {
    const now = performance.now() / 1000, seconds = start / RATE;
    this.offsets = [...this.offsets.filter(([when]) => when > now - WINDOW), [now, now - seconds - piece.length / RATE]];
    if (this.began === null) return;
    const due = (seconds + Math.min(...this.offsets.map(([, offset]) => offset)) - this.began) * RATE;
    if (this.place === null || Math.abs(due - this.place) > OFF * RATE) this.moveTo(Math.round(due));
    for (const sample of piece) this.put(sample);
  }

  moveTo(place) { // begins, or makes up for samples that were lost or that the clocks disagree about
    const frame = Math.floor(Math.max(place, 0) / SIZE);
    if (this.place === null || frame !== this.next) {
      this.next = Math.max(frame, this.next);
      this.frame.fill(0);
    }
    this.place = place;
    this.filled = Math.max(place - this.next * SIZE, 0);
  }

  put(sample) {
    if (this.place++ < this.next * SIZE) return; // before the first frame, or heard already
    this.frame[this.filled++] = sample;
    if (this.filled === SIZE) this.encode(this.next++);
  }

  encode(number, encoder = this.encoder) {
    const form = { format: "f32-planar", sampleRate: RATE, numberOfFrames: SIZE, numberOfChannels: 1 };
    const sound = new AudioData({ ...form, timestamp: number * FRAME_MS * 1000, data: this.frame });
    if (encoder === this.encoder) this.numbers?.push(number);
    encoder?.encode(sound);
    sound.close();
    this.filled = 0;
    this.frame.fill(0);
  }

  give(chunk) {
    const payload = new Uint8Array(chunk.byteLength), number = this.numbers.shift();
    chunk.copyTo(payload);
    if (number !== undefined) this.take({ kind: AUDIO, number, payload });
  }
}
