// The camera's half in a thread of its own: pictures -> landmarks -> set-ups, once, and packets of motion from then on.
// Also the clock: timers of a page that is not in front are slowed down, those of a worker are not.
import * as ort from "/page/built/ort.wasm.min.mjs";
import { Codec, Shape } from "../stream.js";
import { LandmarkTracker } from "./landmarks.js";
import { Coefficients, FrameEncoder } from "./motion.js";
import { canEncode, enrol, unhex } from "./sources.js";

ort.env.wasm.wasmPaths = "/page/built/";
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const ENROL = 1500, LEAST = 8; // milliseconds of a face, and pictures of it, from which its source pictures are chosen
const CLOCK = 15; // milliseconds
let tracker, codec, coefficients, encoder, modelHash, audio, shots = [];

async function load(wanted) {
  const get = async (name) => new Uint8Array(await (await fetch(`/page/built/${name}`)).arrayBuffer());
  modelHash = unhex(wanted.modelHash);
  audio = wanted.audio;
  if (!(await canEncode())) throw new Error("this browser cannot encode AV1 pictures, so the other side will not see you");
  [tracker, codec] = await Promise.all([
    LandmarkTracker.load(ort, "/page/built/landmarks.onnx"), Codec.load(await get("fvc.wasm"), await get("priors.bin")),
  ]);
  coefficients = new Coefficients(new Shape(await get("shape.bin")));
  setInterval(() => self.postMessage({ tick: true }), CLOCK);
  return { loaded: true };
}

async function collect(picture, points) { // the first seconds; then the set-ups
  if (shots.length && (shots[0].picture.width !== picture.width || shots[0].picture.height !== picture.height))
    shots.splice(0).forEach((shot) => shot.picture.close()); // the camera was turned
  shots.push({ picture, points, time: performance.now() });
  if (shots.length < LEAST || shots.at(-1).time < shots[0].time + ENROL) return {};
  const enrolled = await enrol(shots, modelHash, audio);
  shots.splice(0).forEach((shot) => shot.picture.close());
  encoder = new FrameEncoder(codec, coefficients, enrolled.header, enrolled.crop);
  return { setups: { first: enrolled.first, full: enrolled.full, pictures: enrolled.pictures } };
}

function inEnrolled(points, { width, height }) { // a phone that was turned: the middle of the picture stays the middle
  const { crop } = encoder;
  return points.map((value, k) => value + (k % 2 ? crop.height - height : crop.width - width) / 2);
}

// picture: ImageBitmap, null: the camera is off; number of the frame, null: nothing is sent yet; sounds: packets before it
async function see({ picture, number, sounds, wantsKeyframe }) {
  const began = performance.now(), points = picture ? await tracker.track(picture) : null;
  const found = { done: true, number, isFound: points !== null, trackMs: performance.now() - began };
  if (!encoder) {
    if (points) return { ...found, ...(await collect(picture, points)) };
  } else if (number !== null) {
    found.packet = encoder.encode(number, points && inEnrolled(points, picture), sounds, wantsKeyframe);
    found.encodeMs = performance.now() - began - found.trackMs;
  }
  picture?.close();
  return found;
}

self.onmessage = async ({ data }) => {
  try {
    self.postMessage(await (data.load ? load(data.load) : see(data)));
  } catch (error) {
    self.postMessage({ done: !data.load, error: String(error.message ?? error) });
  }
};
