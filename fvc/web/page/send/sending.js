// The sending half of a call: set-ups at the link's pace, packets in datagrams (specification, 12.2 and 12.3). As
// codec/channel/peer.py and pace.py; knows neither sockets nor clocks.
import { AUDIO, Packetizer } from "./datagrams.js";
import { Flight, HEADER_BYTES, LinkEstimate, bestWay, ways } from "./link.js";

const PIECE = 400, MOST_PIECES = 2622, MOST_UNCONFIRMED = 24, FPS = 15, MOTION_BITS = 1100;

export class SetupPace { // the set-up that is on its way; a later one takes its place
  constructor() {
    Object.assign(this, { number: 0, isDone: true, waiting: [], flying: new Map(), next: -Infinity });
  }

  begin(setup) {
    const count = Math.ceil(setup.length / PIECE);
    if (count > MOST_PIECES) throw new Error(`a set-up of ${setup.length} bytes`);
    this.number = (this.number + 1) & 255;
    this.isDone = false;
    this.flying.clear();
    this.waiting = Array.from({ length: count }, (_, index) => ({
      index, message: Uint8Array.from([1, this.number, index >> 8, index & 255, count >> 8, count & 255,
        ...setup.subarray(PIECE * index, PIECE * (index + 1))]),
    }));
  }

  got(number, index) { // { sent, size } of a piece that came, or undefined
    const found = number === this.number ? this.flying.get(index) : undefined;
    if (found) this.flying.delete(index);
    return found;
  }

  due(now, rate) { // messages to send now
    const out = [];
    while (this.waiting.length && now >= this.next && this.flying.size < MOST_UNCONFIRMED) {
      const { index, message } = this.waiting.shift(), size = message.length + HEADER_BYTES;
      this.next = Math.max(this.next, now - 0.02) + (8 * size) / rate;
      this.flying.set(index, { sent: now, size });
      out.push(message);
    }
    return out;
  }
}

export class Sending {
  // post(label, bytes): sends a message; report(now): feedback to send along, as bytes, or []
  constructor(post, report) {
    Object.assign(this, { post, report, isReady: false, packetizer: new Packetizer(), pace: new SetupPace() });
    this.estimate = new LinkEstimate();
    this.flight = new Flight(this.estimate);
    this.count = { frames: 0, sounds: 0 };
  }

  offer(setup, sound) { // sound: bits per second of it
    this.ways = ways(FPS, MOTION_BITS, sound);
    this.way ??= bestWay(this.ways, 0, 0);
    this.pace.begin(setup);
  }

  send(packet, now) { // a packet of the stream; dropped while the other side is not ready
    if (!this.isReady) return;
    if (packet.kind !== AUDIO) this.adapt();
    this.count[packet.kind === AUDIO ? "sounds" : "frames"]++;
    for (const datagram of this.packetizer.add(packet)) this.sendDatagram(datagram, now);
  }

  adapt() { // a set-up on the way has a quarter of the link
    const rate = (this.pace.isDone ? 1 : 0.75) * this.estimate.rate;
    const way = bestWay(this.ways, rate, this.estimate.loss, this.way);
    if (way.frames !== this.way.frames || way.copies !== this.way.copies) this.packetizer.change(way.copies, way.frames);
    this.way = way;
  }

  sendDatagram(datagram, now) {
    const sequence = this.flight.add(datagram.length + HEADER_BYTES + 3, now), feedback = this.report(now);
    const flags = (feedback.length ? 1 : 0) | 2;
    this.post("fvc-media", Uint8Array.from([flags, ...feedback, sequence >> 8, sequence & 255, ...datagram]));
  }

  takeFeedback(newest, times, now) {
    this.flight.take(newest, times, now);
  }

  takeGot(number, index, time, now) {
    const piece = this.pace.got(number, index);
    if (piece) this.estimate.came(piece.sent, this.flight.unwrap(time), piece.size, now);
  }

  takeAnswer(number, isAccepted) { // "first" or "again" where frames may go; null: it was refused, or is another's
    if (this.pace.isDone || number !== this.pace.number || (isAccepted && this.pace.waiting.length)) return null;
    this.pace.isDone = true;
    if (!isAccepted) return null;
    const which = this.isReady ? "again" : "first";
    this.isReady = true;
    return which;
  }

  tick(now) {
    const media = this.isReady ? this.flight.rate(now) : 0, { rate } = this.estimate;
    for (const message of this.pace.due(now, Math.max(rate - media, 0.2 * rate))) this.post("fvc-control", message);
    this.flight.tick(now);
  }

  close(now) { // sends what is left
    if (this.isReady) for (const datagram of this.packetizer.flush()) this.sendDatagram(datagram, now);
  }
}
