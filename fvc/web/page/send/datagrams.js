// Packets -> datagrams: specification, 10. The same choices as codec/call/datagram.py, byte for byte.

export const MOTION = 0, KEY = 1, AUDIO = 2, REFRESH = 4; // kinds of packets, as fvc.wasm has them
const ENTRY_KIND = { [MOTION]: 0, [KEY]: 1, [AUDIO]: 2, [REFRESH]: 3 };
const MOST_BYTES = 1200, MOST_AGE = 63;

export function leb128(value) { // 0 to 2^32 - 1 -> bytes
  const out = [];
  for (; value > 127; value = Math.floor(value / 128)) out.push((value % 128) | 128);
  return [...out, value];
}

export function crc16(bytes) {
  let crc = 0xffff;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let k = 0; k < 8; k++) crc = ((crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
  }
  return crc;
}

export function datagram(frame, packets) { // packets: { kind, number, payload }, oldest first
  const out = leb128(frame);
  for (const { kind, number, payload } of packets) {
    const low = kind === AUDIO ? number : frame - number;
    out.push((ENTRY_KIND[kind] << 6) | (low & 63), ...leb128(payload.length), ...payload);
  }
  const crc = crc16(out);
  return Uint8Array.from([...out, crc >> 8, crc & 255]);
}

export class Packetizer { // takes packets in the order in which they were coded
  constructor() {
    Object.assign(this, { sent: [], motion: [], sound: [], newest: 0 });
    this.change(0, 1);
  }

  change(copies, frames) { // from the next datagram on: copies of each frame in later ones, and frames in each
    Object.assign(this, { copies, frames });
    this.sent.length = Math.min(this.sent.length, copies);
  }

  add(packet) { // the datagrams that are complete, usually one or none
    if (packet.payload.length > MOST_BYTES - 10) throw new Error(`a packet of ${packet.payload.length} bytes`);
    const ready = this.size([...this.motion, ...this.sound, packet]) > MOST_BYTES ? this.flush() : [];
    if (packet.kind === AUDIO) {
      this.sound.push(packet);
      return ready;
    }
    this.newest = packet.number;
    this.motion.push(packet);
    return this.motion.length >= this.frames ? [...ready, ...this.flush()] : ready;
  }

  flush() { // everything that was added since the last one
    if (!this.motion.length && !this.sound.length) return [];
    const copies = this.sent.slice(0, this.copies).reverse().flat().filter((p) => this.newest - p.number <= MOST_AGE);
    while (this.size([...copies, ...this.motion, ...this.sound]) > MOST_BYTES) copies.shift();
    const data = datagram(this.newest, [...copies, ...this.motion, ...this.sound]);
    if (this.motion.length) this.sent = [this.motion, ...this.sent].slice(0, this.copies);
    Object.assign(this, { motion: [], sound: [] });
    return [data];
  }

  size(packets) {
    return datagram(this.newest, packets).length;
  }
}
