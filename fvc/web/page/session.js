// One side of a call: messages in (specification, 12.2 and 12.3), frames and sounds out when they fall due. The half that
// sends is send/sending.js.
import { HEADER_BYTES } from "./send/link.js";
import { Sending } from "./send/sending.js";
import { Codec, Shape, driving, parseHeader, parseSources, toValues, view } from "./stream.js";

const DELAY = 0.4; // seconds from the earliest possible arrival to playout
const PIECE = 400, MOST_PIECES = 2622, TICK = 0.004, WINDOW = 128;
const REPORT = 0.3, ALONE = 0.6; // seconds between two reports, and until one goes without a datagram
const now = () => performance.now() / 1000;
const ticks = (seconds) => Math.min(Math.floor(seconds / TICK) % 65536, 65534);

export class Session {
  // handlers: send(label, Uint8Array), sources(number, sources), frame({ frame, values, recent }), sound(packet, at),
  // ready(isFirst), keyframeWanted(), refused(reason), left(reason)
  constructor(codec, shape, handlers) {
    Object.assign(this, { codec, shape, handlers, pieces: [], waiting: new Map(), arrivals: new Map(), recent: [] });
    this.sounds = new Map();
    this.newest = -1;
    this.sending = new Sending((label, message) => this.send(label, message), (time) => this.takeReport(time));
    this.count = { bytes: 0, sent: 0, messages: 0, refused: 0, decoded: 0, held: 0 };
    this.reported = this.sent = now();
    this.send("fvc-control", [0, 1]);
  }

  static async resources() {
    const get = async (name) => new Uint8Array(await (await fetch(`/page/built/${name}`)).arrayBuffer());
    return { codec: await Codec.load(await get("fvc.wasm"), await get("priors.bin")), shape: new Shape(await get("shape.bin")) };
  }

  send(label, data) {
    this.sent = now();
    this.count.sent += data.length + HEADER_BYTES;
    this.handlers.send(label, Uint8Array.from(data));
  }

  take(label, data) {
    this.count.bytes += data.length + HEADER_BYTES;
    this.count.messages++;
    this.heard = now();
    try {
      if (label === "fvc-media") this.takeMedia(data);
      else this.takeControl(data);
    } catch (error) {
      this.count.refused++;
      this.count.fault = String(error.message ?? error);
    }
  }

  takeControl(data) {
    if (data[0] === 0 && data[1] !== 1) this.handlers.left(`it speaks version ${data[1]} of calls`);
    if (data[0] === 2) this.takeGot(view(data));
    if (data[0] === 3 || data[0] === 4) this.takeAnswer(data);
    if (data[0] === 5) this.handlers.keyframeWanted();
    if (data[0] === 6) this.handlers.left(new TextDecoder().decode(data.slice(1, 201)));
    if (data[0] !== 1) return;
    const at = view(data), number = at.getUint8(1), index = at.getUint16(2), count = at.getUint16(4);
    const size = data.length - 6;
    if (index === 0) this.pieces = [];
    const fits = count <= MOST_PIECES && index < count && index === this.pieces.length && size >= 1 && size <= PIECE;
    if (!fits || (size !== PIECE && index !== count - 1) || (index > 0 && number !== this.collecting)) {
      this.pieces = [];
      throw new Error("a piece out of order");
    }
    this.collecting = number;
    this.pieces.push(data.slice(6));
    const time = ticks(now());
    this.send("fvc-control", [2, number, index >> 8, index & 255, time >> 8, time & 255]);
    if (this.pieces.length === count) this.takeSetup(number, this.pieces.splice(0)).catch((error) => this.refuse(number, error));
  }

  takeGot(at) {
    this.sending.takeGot(at.getUint8(1), at.getUint16(2), at.getUint16(4), now());
  }

  takeAnswer(data) {
    if (data.length < 2) throw new Error("an answer is truncated");
    if (data[0] === 4 && data[1] === this.sending.pace.number)
      this.handlers.refused(new TextDecoder().decode(data.slice(2, 202)));
    const ready = this.sending.takeAnswer(data[1], data[0] === 3);
    if (ready) this.handlers.ready(ready === "first");
  }

  refuse(number, error) {
    this.send("fvc-control", [4, number, ...new TextEncoder().encode(String(error.message ?? error)).slice(0, 200)]);
  }

  async takeSetup(number, pieces) {
    const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    pieces.reduce((at, piece) => (whole.set(piece, at), at + piece.length), 0);
    if (!this.header && !this.codec.begin(whole)) throw new Error("the header is damaged");
    const header = parseHeader(whole);
    if (header.modelHash !== this.handlers.modelHash) throw new Error(`made for weights ${header.modelHash}`);
    this.handlers.sources(number, await parseSources(whole.slice(header.size)));
    this.header ??= header;
  }

  accept(number) {
    this.accepted = true;
    this.send("fvc-control", [3, number]);
  }

  takeMedia(data) {
    const at = view(data);
    let place = 1;
    if (!data.length || data[0] > 3) throw new Error("flags");
    if (data[0] & 1) {
      const newest = at.getUint16(1), count = at.getUint8(3);
      if (count < 1 || count > 32) throw new Error("feedback on too many messages");
      const times = Array.from({ length: count }, (_, n) => at.getUint16(4 + 2 * n));
      this.sending.takeFeedback(newest, times.map((time) => (time === 65535 ? null : time)), now());
      place += 3 + 2 * count;
    }
    if (!(data[0] & 2)) return;
    const sequence = at.getUint16(place);
    this.noteArrival(sequence);
    if (!this.accepted) return;
    const packets = this.codec.packets(data.slice(place + 2));
    if (this.isBelievable(packets)) for (const packet of packets) this.put(packet);
  }

  isBelievable(packets) { // one damaged number must not silence the rest: far ahead of all others, two must agree
    const newest = Math.max(...packets.filter(({ kind }) => kind !== 2).map(({ number }) => number));
    if (this.newest < 0 || !(newest > this.newest + WINDOW)) return true;
    const isSecond = Math.abs(newest - (this.doubtful ?? -Infinity)) <= WINDOW;
    this.doubtful = isSecond ? undefined : newest;
    return isSecond;
  }

  noteArrival(sequence) {
    const ahead = this.lastSequence === undefined ? 0 : ((sequence - this.lastSequence + 0x18000) % 0x10000) - 0x8000;
    const number = this.lastSequence === undefined ? sequence : this.lastNumber + ahead;
    if (this.lastSequence === undefined || ahead > 0) Object.assign(this, { lastSequence: sequence, lastNumber: number });
    if (!this.arrivals.has(number)) this.arrivals.set(number, now());
    for (const old of this.arrivals.keys()) if (old <= this.lastNumber - 32) this.arrivals.delete(old);
    if (!this.isNew) this.firstNew = now();
    this.isNew = true;
  }

  put(packet) {
    if (packet.kind === 2) {
      if (this.sounds.size < 256 && packet.number > (this.lastSound ?? -1)) this.sounds.set(packet.number, packet.payload);
      return;
    }
    if (packet.number <= (this.shown ?? -1) || this.waiting.has(packet.number)) return;
    this.waiting.set(packet.number, packet);
    if (packet.number > this.newest) {
      this.newest = packet.number;
      const start = now() - packet.number / this.header.fps;
      this.base = Math.min(this.base ?? start, start);
    }
  }

  due(frame) {
    return this.base + DELAY + frame / this.header.fps;
  }

  tick() { // decodes what fell due, and draws the newest of it
    const time = now();
    this.sending.tick(time);
    if (this.isNew && time > this.firstNew + (this.sending.isReady ? ALONE : REPORT)) this.reportAlone(time);
    else if (time > this.sent + 1) this.send("fvc-media", [0]);
    if (this.base === undefined || !this.accepted) return;
    const frame = Math.floor((time - this.base - DELAY) * this.header.fps);
    let values = null;
    for (const number of [...this.waiting.keys()].filter((n) => n <= frame).sort((a, b) => a - b)) {
      const packet = this.waiting.get(number), integers = this.codec.decode(packet);
      this.waiting.delete(number);
      this.shown = number;
      if (packet.kind === 1 && this.keyframe !== undefined && number - this.keyframe < (this.header.interval || Infinity))
        this.recent = []; // a new scene
      if (packet.kind === 1) this.keyframe = number;
      this.count[integers ? "decoded" : "held"]++;
      if (!integers) continue;
      values = toValues(this.header, integers, this.shape);
      this.recent.push({ number, position: driving(values).position });
    }
    this.playSounds(frame);
    if (values) this.handlers.frame({ frame: this.shown, values, recent: this.recentOf(this.shown) });
    const isStuck = this.newest > (this.shown ?? -1) || time - (this.lastGood ?? time) > 0.3;
    if (values) this.lastGood = time;
    if (!values && isStuck && this.heard > time - 1 && time > (this.asked ?? 0) + 0.7) {
      this.asked = time;
      this.send("fvc-control", [5]);
    }
  }

  recentOf(frame) { // where the head was 1 to 4 fifteenths of a second before
    const out = new Float32Array(4 * 86);
    for (let k = 1; k <= 4; k++) {
      const back = Math.floor((k * this.header.fps) / 15 + 0.5);
      const before = this.recent.filter(({ number }) => number <= frame - back).at(-1) ?? this.recent[0];
      out.set(before.position, 86 * (k - 1));
    }
    while (this.recent.length > 1 && this.recent[1].number <= frame - Math.ceil((4 * this.header.fps) / 15)) this.recent.shift();
    return out;
  }

  playSounds(frame) {
    const { audio, fps } = this.header;
    if (!audio) return;
    for (const number of [...this.sounds.keys()].sort((a, b) => a - b)) {
      const begins = (number * audio.frameMs) / 1000 - audio.preSkip / 48000;
      if (begins > (frame + 2) / fps) break;
      this.handlers.sound(this.sounds.get(number), this.base + DELAY + begins, audio);
      this.sounds.delete(number);
      this.lastSound = number;
    }
  }

  takeReport(time) { // when messages came, as bytes to send along; none where there is nothing new
    if (!this.isNew || time < this.reported + REPORT) return [];
    const recent = [...this.arrivals].filter(([, when]) => when > time - 1).map(([number]) => number);
    const oldest = Math.max(Math.min(this.lastNumber, ...recent), this.lastNumber - 31), times = [];
    for (let number = this.lastNumber; number >= oldest; number--) {
      const when = this.arrivals.has(number) ? ticks(this.arrivals.get(number)) : 65535;
      times.push(when >> 8, when & 255);
    }
    Object.assign(this, { reported: time, isNew: false });
    return [this.lastSequence >> 8, this.lastSequence & 255, times.length / 2, ...times];
  }

  reportAlone(time) {
    const report = this.takeReport(time);
    if (report.length) this.send("fvc-media", [1, ...report]);
  }

  leave() {
    this.sending.close(now());
    this.send("fvc-control", [6]);
  }
}
