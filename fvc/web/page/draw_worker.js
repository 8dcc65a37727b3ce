// Draws in a thread of its own: source pictures (AV1, by WebCodecs) -> embedding, once; a frame's numbers -> pixels.
import * as ort from "/page/built/ort.wasm.min.mjs";
import { SIDE, decodePictures } from "./pictures.js";
import { driving } from "./stream.js";

ort.env.wasm.wasmPaths = "/page/built/";
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1;
ort.env.logLevel = "error";
const tensor = (data, ...dims) => new ort.Tensor("float32", data, dims);
let embed, draw, embedding;

async function sessions() {
  const load = async (name) => ort.InferenceSession.create(`/page/built/${name}.onnx`, { executionProviders: ["wasm"] });
  embed ??= await load("embed");
  draw ??= await load("draw");
}

async function takeSources(sources) {
  await sessions();
  const n = sources.length, pictures = await decodePictures(sources.map(({ coded }) => coded));
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
