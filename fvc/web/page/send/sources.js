// The first seconds' pictures -> set-ups: choice, AV1 by WebCodecs, source set (specification, 7) and header (4.1).
import { SIDE, decodePictures, toYuv } from "../pictures.js";
import { leb128 } from "./datagrams.js";
import { eyeDistance } from "./landmarks.js";
import { FPS, INTERVAL, QUANTIZER, boxOf, chooseCrop, toCrop } from "./motion.js";

const COUNT = 4, STILL = 0.01, SHIFT_WEIGHT = 0.25; // pictures; as in codec/face/source_choice.py
const FIRST_BYTES = 900, MOST_FIRST = 2650; // of the first picture: alone, and among the others
const FINE = 0.4; // of the range of AV1's quantizers: 38 dB, as `fvc call` has it
const RANGES = [255, 63]; // largest quantizers of WebCodecs: of Chromium's libaom, and as its registry says
const CODING = {
  codec: "av01.0.00M.08", width: SIDE, height: SIDE, bitrateMode: "quantizer", latencyMode: "realtime", framerate: FPS,
};
const COLOURS = { matrix: "bt709", primaries: "bt709", transfer: "bt709", fullRange: true };
const LANDMARKS_ONLY = 0, SHAPED = 4; // profiles of the set and of the stream
const LEFT_OUT = [2, 5, 8, 15]; // OBUs: temporal delimiter, metadata, tile list, padding
const u16 = (value) => [(value >> 8) & 255, value & 255];
const u32 = (value) => [...u16(value >>> 16), ...u16(value & 0xffff)];
const join = (parts) => Uint8Array.from(parts.flatMap((part) => [...part]));
const sha256 = async (data) => new Uint8Array(await crypto.subtle.digest("SHA-256", data));
export const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));

export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

export async function canEncode() { // whether this browser makes the pictures that the format wants
  if (typeof VideoEncoder === "undefined") return false;
  return (await VideoEncoder.isConfigSupported(CODING).catch(() => ({}))).supported === true;
}

export function bareUnits(data) { // a temporal unit -> its OBUs, each with its size; throws unless it shows one frame
  const out = [];
  let at = 0, frames = 0;
  while (at < data.length) {
    const head = data[at++], extension = head & 4 ? [data[at++]] : [], type = (head >> 3) & 15;
    let size = head & 2 ? 0 : data.length - at;
    for (let shift = 0, more = head & 2; more; shift += 7, more = data[at++] & 128) size += (data[at] & 127) * 2 ** shift;
    if (at + size > data.length) throw new Error("the encoder's picture is cut off");
    if (!LEFT_OUT.includes(type)) out.push(head | 2, ...extension, ...leb128(size), ...data.subarray(at, at + size));
    frames += type === 3 || type === 6;
    at += size;
  }
  if (frames !== 1) throw new Error(`the encoder made ${frames} pictures of one`);
  return Uint8Array.from(out);
}

async function encode(pictures, quantizers) { // uint8 [256, 256, 3] each -> OBUs of each, predicted from those before
  const coded = [];
  let fault = null;
  const encoder = new VideoEncoder({
    output: (chunk) => {
      const data = new Uint8Array(chunk.byteLength);
      chunk.copyTo(data);
      coded.push(data);
    },
    error: (error) => { fault = error; },
  });
  encoder.configure(CODING);
  for (const [n, rgb] of pictures.entries()) {
    const timestamp = Math.round((n * 1e6) / FPS);
    const form = { timestamp, format: "I420", codedWidth: SIDE, codedHeight: SIDE, colorSpace: COLOURS };
    const frame = new VideoFrame(toYuv(rgb), form);
    encoder.encode(frame, { keyFrame: n === 0, av1: { quantizer: quantizers[n] } });
    frame.close();
  }
  await encoder.flush().catch((error) => { fault ??= error; });
  if (encoder.state !== "closed") encoder.close();
  if (fault || coded.length !== pictures.length)
    throw new Error(`AV1 cannot be encoded: ${fault?.message ?? "a picture is missing"}`);
  return coded.map(bareUnits);
}

async function largestQuantizer(picture) { // the one that this browser means by the coarsest
  const size = (largest) => encode([picture], [largest]).then(([coded]) => coded.length, () => Infinity);
  const sizes = await Promise.all(RANGES.map(size));
  return sizes[0] < sizes[1] ? RANGES[0] : RANGES[1];
}

async function quantizerWithin(picture, bytes, fine, coarse) { // the finest at which a picture alone has so few bytes
  while (fine < coarse) {
    const middle = (fine + coarse) >> 1, [coded] = await encode([picture], [middle]);
    if (coded.length <= bytes) coarse = middle;
    else fine = middle + 1;
  }
  return fine;
}

export async function encodePictures(pictures, firstBytes) {
  const largest = await largestQuantizer(pictures[0]), fine = Math.round(FINE * largest);
  const first = await quantizerWithin(pictures[0], firstBytes, fine, largest);
  return encode(pictures, pictures.map((_, n) => (n ? fine : first)));
}

function distances(faces) { // [n][m]: root mean square over the landmarks of centred faces; centres count less
  const centre = (face, k) => face.reduce((sum, value, j) => sum + (j % 2 === k ? value : 0), 0) / (face.length / 2);
  const centres = faces.map((face) => [centre(face, 0), centre(face, 1)]);
  return faces.map((a, n) => faces.map((b, m) => {
    const shift = [centres[n][0] - centres[m][0], centres[n][1] - centres[m][1]];
    const own = a.reduce((sum, value, k) => sum + (value - b[k] - shift[k % 2]) ** 2, 0) / (a.length / 2);
    return Math.sqrt(own + SHIFT_WEIGHT * (shift[0] ** 2 + shift[1] ** 2));
  }));
}

export function chooseSources(faces) { // landmarks of frames -> indices: k-medoids, the most useful first
  const far = distances(faces), all = [...faces.keys()];
  const mean = (chosen) => all.reduce((sum, n) => sum + Math.min(...chosen.map((m) => far[n][m])), 0) / all.length;
  const best = (others) => all.filter((n) => !others.includes(n))
    .reduce((a, b) => (mean([...others, b]) < mean([...others, a]) ? b : a));
  const chosen = [], still = STILL * eyeDistance(faces[0]);
  while (chosen.length < Math.min(COUNT, faces.length) && !(chosen.length && mean(chosen) <= still)) chosen.push(best(chosen));
  for (let pass = 0; pass < 3; pass++)
    for (let n = 0; n < chosen.length; n++) chosen[n] = best(chosen.filter((_, m) => m !== n));
  return chosen.sort((a, b) => mean([a]) - mean([b]));
}

export async function sourceSet(modelHash, coded, samples) { // AV1 data and landmarks in [-1, 1] of each -> { bytes, hash }
  const integer = (value) => u16(Math.round(Math.min(Math.max(((value + 2) * 65535) / 4, 0), 65535)));
  const sections = coded.map((data, n) => join([...Array.from(samples[n], integer), data]));
  const listed = await Promise.all([...sections, new Uint8Array()].map(async (section) =>
    [...u32(section.length), ...(await sha256(section)).subarray(0, 16)])); // the last is the canvas: there is none
  const fixed = [0xab, 0x46, 0x56, 0x53, 2, ...modelHash, LANDMARKS_ONLY, coded.length, 0, 0, 0, 0];
  const start = [...fixed, ...listed.flat()], head = Uint8Array.from([...start, ...u32(crc32(start))]);
  return { bytes: join([head, ...sections]), hash: (await sha256(head)).subarray(0, 16) };
}

export async function pixelsHash(pictures) { // uint8 [N, 256, 256, 3]
  const size = 3 * SIDE * SIDE, count = pictures.length / size;
  const hex = (data) => [...data].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const each = await Promise.all(Array.from({ length: count }, (_, n) => sha256(pictures.slice(n * size, (n + 1) * size))));
  return (await sha256(join(each.map(hex).sort().map(unhex)))).subarray(0, 16);
}

export function streamHeader(modelHash, crop, names, pixels, audio) { // audio: { frameMs, preSkip } or null
  const body = [
    audio ? 1 : 0, SHAPED | LANDMARKS_ONLY, ...u16(FPS), ...u16(1), ...u16(INTERVAL),
    ...u16(crop.width), ...u16(crop.height), ...u16(crop.x), ...u16(crop.y), ...u16(crop.side),
    ...modelHash, ...names, ...pixels, QUANTIZER.bits, ...u16(QUANTIZER.low), ...u16(QUANTIZER.high),
    ...(audio ? [audio.frameMs, ...u16(audio.preSkip)] : []),
  ];
  const start = [0xab, 0x46, 0x56, 0x43, 2, ...u16(body.length), ...body];
  return Uint8Array.from([...start, ...u32(crc32(start))]);
}

function cut(picture, crop) { // ImageBitmap -> uint8 [256, 256, 3]; what lies outside it has the mean colour of the rest
  const canvas = new OffscreenCanvas(SIDE, SIDE).getContext("2d", { willReadFrequently: true });
  canvas.imageSmoothingQuality = "high";
  canvas.drawImage(picture, crop.x, crop.y, crop.side, crop.side, 0, 0, SIDE, SIDE);
  const { data } = canvas.getImageData(0, 0, SIDE, SIDE), rgb = new Uint8Array(3 * SIDE * SIDE), sum = [0, 0, 0];
  let inside = 0;
  for (let k = 0; k < SIDE * SIDE; k++) {
    if (data[4 * k + 3] !== 255) continue;
    inside++;
    for (let c = 0; c < 3; c++) sum[c] += rgb[3 * k + c] = data[4 * k + c];
  }
  for (let k = 0; k < SIDE * SIDE; k++)
    if (data[4 * k + 3] !== 255) for (let c = 0; c < 3; c++) rgb[3 * k + c] = sum[c] / Math.max(inside, 1);
  return rgb;
}

// shots: [{ picture, points }] of the first seconds -> set-ups: of one small picture, and of all; and the crop
export async function enrol(shots, modelHash, audio) {
  const { width, height } = shots[0].picture;
  const crop = chooseCrop(shots.map(({ points }) => boxOf([...points])), width, height);
  const chosen = chooseSources(shots.map(({ points }) => [...points])).map((n) => shots[n]);
  const pictures = chosen.map(({ picture }) => cut(picture, crop));
  const samples = chosen.map(({ points }) => toCrop(points, crop));
  const setUp = async (coded) => {
    const { bytes, hash } = await sourceSet(modelHash, coded, samples);
    const header = streamHeader(modelHash, crop, hash, await pixelsHash(await decodePictures(coded)), audio);
    return { header, bytes: join([header, bytes]) };
  };
  const first = await setUp(await encodePictures(pictures.slice(0, 1), FIRST_BYTES));
  const full = await setUp(await encodePictures(pictures, MOST_FIRST));
  return { crop, header: full.header, first: first.bytes, full: full.bytes, pictures: pictures.length };
}
