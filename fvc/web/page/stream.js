// Headers, source sets and integers of a stream: specification, 4.1, 7.1 and 8.2. The bits are decoded in fvc.wasm.

const PARTS = {
  0: ["sup"], 1: ["sup", "unsup"], 2: ["sup", "unsup", "expr"], 3: ["unsup", "jac"],
  8: ["unsup", "jac", "expr"], 9: ["sup", "unsup", "jac", "expr"],
};
const SHAPED = 4; // added to the number of a stream's profile whose landmarks come as coefficients
const COUNT = { sup: 66, unsup: 20, jac: 40, expr: 16, shape: 66 };
const SOURCE_RANGE = { sup: [-2, 2], unsup: [-2, 2], jac: [-15, 15], expr: [0, 1] };
const MOST_HEADER = 7 + 4096 + 4; // bytes
const fail = (why) => { throw new Error(why); };

export const view = (data) => new DataView(data.buffer, data.byteOffset, data.byteLength);

export function parseHeader(data) { // fvc.wasm has checked it
  const at = view(data);
  const profile = at.getUint8(8);
  const names = PARTS[profile & ~SHAPED].map((name) => (profile & SHAPED && name === "sup" ? "shape" : name));
  const header = {
    size: 7 + at.getUint16(5) + 4, fps: at.getUint16(9) / at.getUint16(11), interval: at.getUint16(13),
    modelHash: [...data.slice(25, 33)].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
    parts: [],
  };
  let place = 65;
  for (const name of names) {
    const top = 2 ** at.getUint8(place) - 1;
    header.parts.push({ name, count: COUNT[name], top, low: at.getInt16(place + 1) / 256, high: at.getInt16(place + 3) / 256 });
    place += 5;
  }
  // What may follow the sound's element, extensions, is skipped: `size` counts it.
  header.audio = at.getUint8(7) ? { frameMs: at.getUint8(place), preSkip: at.getUint16(place + 1) } : null;
  return header;
}

export async function parseSources(data) {
  const at = view(data);
  if (data.length < 43 || at.getUint32(0) !== 0xab465653 || at.getUint8(4) !== 2) fail("no source set");
  const profile = at.getUint8(13), count = at.getUint8(14);
  if (!(profile in PARTS) || count < 1 || count > 8 || data.length < 19 + 20 * (count + 1) + 4) fail("a source set's head");
  const fixed = 2 * PARTS[profile].reduce((sum, name) => sum + COUNT[name], 0);
  let start = 19 + 20 * (count + 1) + 4;
  const sources = [];
  for (let n = 0; n < count; n++) {
    const size = at.getUint32(19 + 20 * n), digest = data.slice(23 + 20 * n, 39 + 20 * n);
    if (size < fixed || size > fixed + (1 << 20) || start + size > data.length) fail("a source picture's size");
    const section = data.slice(start, start + size);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", section));
    if (digest.some((byte, k) => byte !== hash[k])) fail("a source picture is damaged");
    let place = 0;
    const values = {};
    for (const name of PARTS[profile]) {
      const [low, high] = SOURCE_RANGE[name];
      values[name] = Float32Array.from({ length: COUNT[name] }, (_, k) =>
        low + (view(section).getUint16(place + 2 * k) * (high - low)) / 65535);
      place += 2 * COUNT[name];
    }
    sources.push({ values, coded: section.slice(fixed) });
    start += size;
  }
  return sources;
}

export class Shape { // shape.bin: coefficients -> landmarks
  constructor(data) {
    this.numbers = Float64Array.from({ length: 66 + 66 * 66 }, (_, k) => view(data).getInt16(2 * k) / 16384);
  }

  landmarks(values) {
    const out = Float32Array.from(this.numbers.subarray(0, 66));
    for (let k = 0; k < 66; k++)
      for (let j = 0; j < 66; j++) out[j] += values[k] * this.numbers[66 + 66 * k + j];
    return out;
  }
}

export function toValues(header, integers, shape) { // integers of all parts -> { sup, unsup, ... }
  const values = {};
  let place = 0;
  for (const { name, count, top, low, high } of header.parts) {
    const part = Float32Array.from(integers.subarray(place, place + count), (q) => low + (q * (high - low)) / top);
    values[name === "shape" ? "sup" : name] = name === "shape" ? shape.landmarks(part) : part;
    place += count;
  }
  return values;
}

export function driving(values) { // the networks' inputs of one sample
  const position = new Float32Array(86), jacobian = new Float32Array(172), presence = new Float32Array(43);
  for (let k = 0; k < 43; k++) jacobian[4 * k] = jacobian[4 * k + 3] = 1;
  if (values.sup) position.set(values.sup), presence.fill(1, 0, 33);
  if (values.unsup) position.set(values.unsup, 66), presence.fill(1, 33);
  if (values.jac) jacobian.set(values.jac, 132);
  return { position, jacobian, presence, expression: values.expr ?? new Float32Array(16).fill(0.5) };
}

export class Codec { // fvc.wasm: see export/c/fvc_wasm.c
  static async load(module, priors) {
    const { instance } = await WebAssembly.instantiate(module, {});
    const codec = new Codec();
    codec.exports = instance.exports;
    codec.exports._initialize?.();
    codec.run("fvc_wasm_priors", priors);
    return codec;
  }

  run(name, data, ...more) {
    new Uint8Array(this.exports.memory.buffer).set(data, this.exports.fvc_in());
    return this.exports[name](...more, data.length);
  }

  begin(data) { // a stream's header, and maybe more behind it
    return this.run("fvc_wasm_decoder", data.subarray(0, MOST_HEADER)) === 0;
  }

  beginEncoding(header) {
    return this.run("fvc_wasm_encoder", header) === 0;
  }

  encodeNear(quality, steps, isKey) { // a frame's values in steps -> its bytes; see `encoded`
    const lambdas = [-6, 0, 6].map((offset) => 2 ** ((quality + offset - 50) / 10)); // codec/motion/motion_encoder.py
    const given = new Uint8Array(Float64Array.of(...lambdas, ...steps).buffer);
    new Uint8Array(this.exports.memory.buffer).set(given, this.exports.fvc_in());
    const size = this.exports.fvc_wasm_encode_near(isKey ? 1 : 0);
    if (size < 0) throw new Error(`a frame cannot be encoded (${size})`);
    return new Uint8Array(this.exports.memory.buffer, this.exports.fvc_out(), size).slice();
  }

  encoded() { // the integers that were chosen for that frame
    return new Uint16Array(this.exports.memory.buffer, this.exports.fvc_out(), this.exports.fvc_wasm_encoded()).slice();
  }

  packets(datagram) { // [{ kind, number, payload }]; none where it is damaged
    const count = datagram.length <= 1200 ? this.run("fvc_wasm_datagram", datagram) : -24;
    const rows = new Uint32Array(this.exports.memory.buffer, this.exports.fvc_out(), 4 * Math.max(count, 0)).slice();
    return Array.from({ length: Math.max(count, 0) }, (_, n) => ({
      kind: rows[4 * n], number: rows[4 * n + 1],
      payload: datagram.slice(rows[4 * n + 2], rows[4 * n + 2] + rows[4 * n + 3]),
    }));
  }

  decode({ kind, number, payload }) { // the integers of a frame, or null: it is held
    const count = this.run("fvc_wasm_decode", payload, kind, number);
    return count > 0 ? new Uint16Array(this.exports.memory.buffer, this.exports.fvc_out(), count).slice() : null;
  }
}
