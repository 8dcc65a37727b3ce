// Draws in a thread of its own: source pictures (AV1, by WebCodecs) -> embedding, once; a frame's numbers -> pixels.
import * as ort from "/page/built/ort.wasm.min.mjs";
import { driving } from "/page/stream.js";

ort.env.wasm.wasmPaths = "/page/built/";
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1;
ort.env.logLevel = "error";
const SIDE = 256;
const tensor = (data, ...dims) => new ort.Tensor("float32", data, dims);
let embed, draw, embedding;

async function sessions() {
  const load = async (name) => ort.InferenceSession.create(`/page/built/${name}.onnx`, { executionProviders: ["wasm"] });
  embed ??= await load("embed");
  draw ??= await load("draw");
}

async function decodePictures(sources) { // uint8 [N, 256, 256, 3]
  const frames = [];
  let fault = null;
  const decoder = new VideoDecoder({ output: (frame) => frames.push(frame), error: (error) => { fault = error; } });
  decoder.configure({ codec: "av01.0.00M.08", codedWidth: SIDE, codedHeight: SIDE });
  sources.forEach(({ coded }, n) =>
    decoder.decode(new EncodedVideoChunk({ type: n ? "delta" : "key", timestamp: n, data: coded })));
  await decoder.flush().catch((error) => { fault ??= error; });
  decoder.close();
  if (fault || frames.length !== sources.length) throw new Error("a source picture cannot be decoded");
  const out = new Uint8Array(sources.length * SIDE * SIDE * 3);
  for (const [n, frame] of frames.entries()) {
    if (frame.codedWidth !== SIDE || frame.codedHeight !== SIDE) throw new Error("a source picture has the wrong size");
    const yuv = new Uint8Array(frame.allocationSize());
    const planes = await frame.copyTo(yuv);
    toRgb(yuv, planes, out.subarray(n * SIDE * SIDE * 3));
    frame.close();
  }
  return out;
}

function toRgb(yuv, planes, out) { // BT.709, full range; colours lie between the pixels of two rows, left-aligned
  const [y, u, v] = planes;
  for (let row = 0; row < SIDE; row++) {
    for (let column = 0; column < SIDE; column++) {
      const luma = yuv[y.offset + row * y.stride + column];
      const at = (plane) => chroma(yuv, plane, (row - 0.5) / 2, column / 2) - 128;
      const cb = at(u), cr = at(v), place = 3 * (row * SIDE + column);
      out[place] = clamp(luma + 1.5748 * cr);
      out[place + 1] = clamp(luma - 0.18732427 * cb - 0.46812427 * cr);
      out[place + 2] = clamp(luma + 1.8556 * cb);
    }
  }
}

const clamp = (value) => (value < 0 ? 0 : value > 255 ? 255 : Math.round(value));

function chroma(yuv, { offset, stride }, row, column) { // bilinear
  const last = SIDE / 2 - 1;
  const r0 = Math.min(Math.max(Math.floor(row), 0), last), r1 = Math.min(r0 + 1, last);
  const c0 = Math.floor(column), c1 = Math.min(c0 + 1, last), f = Math.min(Math.max(row - r0, 0), 1), g = column - c0;
  const p = (r, c) => yuv[offset + r * stride + c];
  return (p(r0, c0) * (1 - g) + p(r0, c1) * g) * (1 - f) + (p(r1, c0) * (1 - g) + p(r1, c1) * g) * f;
}

async function takeSources(sources) {
  await sessions();
  const n = sources.length, pictures = await decodePictures(sources);
  const inputs = { position: new Float32Array(n * 86), jacobian: new Float32Array(n * 172), presence: new Float32Array(n * 43) };
  sources.forEach(({ values }, k) => {
    const one = driving(values);
    for (const name of Object.keys(inputs)) inputs[name].set(one[name], k * one[name].length);
  });
  const feeds = [
    new ort.Tensor("uint8", pictures, [n, SIDE, SIDE, 3]), tensor(inputs.position, n, 43, 2),
    tensor(inputs.jacobian, n, 43, 2, 2), tensor(inputs.presence, n, 43),
  ];
  embedding = await embed.run(Object.fromEntries(embed.inputNames.map((name, k) => [name, feeds[k]])));
}

async function takeFrame({ values, recent }) {
  const one = driving(values);
  const found = await draw.run({
    ...embedding, position: tensor(one.position, 1, 43, 2), jacobian: tensor(one.jacobian, 1, 43, 2, 2),
    presence: tensor(one.presence, 1, 43), expression: tensor(one.expression, 1, 16), recent: tensor(recent, 4, 43, 2),
  });
  const picture = found[draw.outputNames[0]].data, rgba = new Uint8ClampedArray(SIDE * SIDE * 4);
  for (let k = 0; k < SIDE * SIDE; k++) {
    for (let c = 0; c < 3; c++) rgba[4 * k + c] = 255 * picture[3 * k + c];
    rgba[4 * k + 3] = 255;
  }
  return rgba;
}

let busy = Promise.resolve();
self.onmessage = ({ data }) => {
  busy = busy.then(async () => {
    const began = performance.now();
    try {
      if (data.load) {
        await sessions();
        self.postMessage({ loaded: true });
      } else if (data.sources) {
        await takeSources(data.sources);
        self.postMessage({ number: data.number, accepted: true });
      } else {
        const rgba = await takeFrame(data);
        self.postMessage({ frame: data.frame, rgba, ms: performance.now() - began }, [rgba.buffer]);
      }
    } catch (error) {
      self.postMessage({ number: data.number, frame: data.frame, error: String(error.message ?? error) });
    }
  });
};
