// Draws in a thread of its own: source pictures (AV1, by WebCodecs) -> embedding, once; a frame's numbers -> pixels.
import * as ort from "/page/built/ort.wasm.min.mjs";
import { EmbeddedSources } from "./nearest.js";
import { SIDE, decodePictures } from "./pictures.js";
import { driving } from "./stream.js";

ort.env.wasm.wasmPaths = "/page/built/";
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1;
ort.env.logLevel = "error";
const tensor = (data, ...dims) => new ort.Tensor("float32", data, dims);
let embed, draw, embedded;

async function sessions() {
  const load = async (name) => ort.InferenceSession.create(`/page/built/${name}.onnx`, { executionProviders: ["wasm"] });
  embed ??= await load("embed");
  draw ??= await load("draw");
}

async function takeSources(sources) {
  await sessions();
  const pictures = await decodePictures(sources.map(({ coded }) => coded));
  const bytes = 3 * SIDE * SIDE, rows = [];
  for (const [k, { values }] of sources.entries()) {
    const one = driving(values);
    const found = await embed.run({
      pictures: new ort.Tensor("uint8", pictures.subarray(k * bytes, (k + 1) * bytes), [1, SIDE, SIDE, 3]),
      position: tensor(one.position, 1, 43, 2), jacobian: tensor(one.jacobian, 1, 43, 2, 2),
      presence: tensor(one.presence, 1, 43),
    });
    rows.push(embed.outputNames.map((name) => found[name]));
  }
  embedded = new EmbeddedSources(rows, sources.map(({ values }) => driving(values).position));
}

async function takeFrame({ values, recent }) {
  const one = driving(values), embedding = {};
  embedded.near(one, recent).forEach(({ data, dims }, k) => (embedding[embed.outputNames[k]] = tensor(data, ...dims)));
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
