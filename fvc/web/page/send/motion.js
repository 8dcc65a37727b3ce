// Landmarks in pixels -> packets of motion: crop, coefficients, integers, bytes. The rules are those of
// codec/face/crop.py, codec/motion and codec/keyframes.py; integers and bytes come from fvc.wasm.
import { KEY, MOTION, leb128 } from "./datagrams.js";

export const FPS = 15, INTERVAL = 75, QUALITY = 80; // a keyframe every five seconds
const BITS = 12, LOW = -16, HIGH = 2047 / 128, TOP = 2 ** BITS - 1; // the default quantizer of `shape`
export const QUANTIZER = { bits: BITS, low: 256 * LOW, high: 256 * HIGH }; // as the header has it
const ROOM = 1.75, LEAST_ROOM = 1.02, OUTER_ROOM = 1.1, EXCURSION = 1.5;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const even = (value) => { // halves to even, as Python rounds
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 ? near - 1 : near;
};

export function boxOf(points) { // 66 numbers -> [left, top, right, bottom]
  const x = points.filter((_, k) => k % 2 === 0), y = points.filter((_, k) => k % 2 === 1);
  return [Math.min(...x), Math.min(...y), Math.max(...x), Math.max(...y)];
}

function extent(boxes) {
  const side = (low, high) => Math.max(...boxes.map((box) => box[high])) - Math.min(...boxes.map((box) => box[low]));
  return Math.max(side(0, 2), side(1, 3), 8);
}

function inUsualPlace(boxes) { // without a few far from the others, where these would make the crop much larger
  const count = boxes.length, few = Math.floor(Math.min(0.12 * count, Math.max(30, 0.04 * count)));
  const middle = (k) => {
    const sorted = boxes.map((box) => box[k]).sort((a, b) => a - b), half = count >> 1;
    return count % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  };
  const median = [0, 1, 2, 3].map(middle);
  const far = (box) => Math.max(...box.map((edge, k) => Math.abs(edge - median[k])));
  const usual = [...boxes].sort((a, b) => far(a) - far(b)).slice(0, count - few);
  return extent(boxes) > EXCURSION * extent(usual) ? usual : boxes;
}

export function chooseCrop(all, width, height) { // boxes of the face -> { width, height, x, y, side }
  const boxes = inUsualPlace(all), whole = extent(boxes), inside = Math.min(width, height);
  let side = whole * ROOM;
  if (side > inside) side = whole * LEAST_ROOM <= inside ? inside : whole * OUTER_ROOM;
  side = clamp(even(side), 16, 16384);
  const place = (low, high, limit) => {
    const start = even((low + high - side) / 2);
    return side <= limit ? clamp(start, 0, limit - side) : clamp(start, limit - side, 0);
  };
  const low = (k) => Math.min(...boxes.map((box) => box[k])), high = (k) => Math.max(...boxes.map((box) => box[k]));
  return { width, height, x: place(low(0), high(2), width), y: place(low(1), high(3), height), side };
}

export function toCrop(points, crop) { // pixels of the frame -> [-1, 1] of the crop
  return Float32Array.from(points, (value, k) => (value - (k % 2 ? crop.y : crop.x)) * (2 / crop.side) - 1);
}

function inverse(matrix, n) { // of n x n numbers, row by row: Gauss and Jordan, the largest pivot of each column
  const rows = Array.from({ length: n }, (_, i) =>
    Float64Array.from({ length: 2 * n }, (_, j) => (j < n ? matrix[n * i + j] : Number(j - n === i))));
  for (let k = 0; k < n; k++) {
    let pivot = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(rows[i][k]) > Math.abs(rows[pivot][k])) pivot = i;
    [rows[k], rows[pivot]] = [rows[pivot], rows[k]];
    const scale = rows[k][k];
    for (let j = 0; j < 2 * n; j++) rows[k][j] /= scale;
    for (let i = 0; i < n; i++) {
      const factor = rows[i][k];
      if (i === k || factor === 0) continue;
      for (let j = 0; j < 2 * n; j++) rows[i][j] -= factor * rows[k][j];
    }
  }
  return Float64Array.from({ length: n * n }, (_, k) => rows[Math.floor(k / n)][n + (k % n)]);
}

export class Coefficients { // the inverse of `Shape.landmarks`: landmarks in [-1, 1] -> 66 coefficients
  constructor(shape) { // Shape of stream.js
    this.mean = shape.numbers.slice(0, 66);
    this.inverse = inverse(shape.numbers.subarray(66), 66);
  }

  of(points) {
    const out = new Float64Array(66);
    for (let j = 0; j < 66; j++)
      for (let k = 0; k < 66; k++) out[k] += (points[j] - this.mean[j]) * this.inverse[66 * j + k];
    return out;
  }
}

export function steps(coefficients) { // in steps above integer 0, not rounded
  return Float64Array.from(coefficients, (value) =>
    Number.isFinite(value) ? clamp((value - LOW) * (TOP / (HIGH - LOW)), 0, TOP) : TOP / 2);
}

export class FrameEncoder { // frames of one stream, in order
  constructor(codec, coefficients, header, crop) {
    if (!codec.beginEncoding(header)) throw new Error("the header is damaged");
    Object.assign(this, { codec, coefficients, crop, keyframe: null });
  }

  // points: landmarks in pixels of the frame, null: no face; sounds: packets of sound before it -> its packet
  encode(number, points, sounds, wantsKeyframe = false) {
    if (wantsKeyframe) this.keyframe = null;
    if (!points) return { kind: MOTION, number, payload: new Uint8Array() };
    const isKey = this.keyframe === null || number - this.keyframe >= INTERVAL;
    const coded = this.codec.encodeNear(QUALITY, steps(this.coefficients.of(toCrop(points, this.crop))), isKey);
    if (!isKey) return { kind: MOTION, number, payload: coded.length ? coded : Uint8Array.of(0) };
    this.keyframe = number;
    return { kind: KEY, number, payload: Uint8Array.from([...leb128(number), ...leb128(sounds), ...coded]) };
  }
}
