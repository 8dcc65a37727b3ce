// Draws in a thread of its own: source pictures (AV1, by WebCodecs) -> embedding, once; a frame's numbers -> pixels.
import * as ort from "/page/built/ort.wasm.min.mjs";
import { Blend } from "./blend.js";
import { EmbeddedSources } from "./nearest.js";
import { SIDE, decodePictures } from "./pictures.js";
import { driving } from "./stream.js";

ort.env.wasm.wasmPaths = "/page/built/";
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1;
ort.env.logLevel = "error";
const tensor = (data, ...dims) => new ort.Tensor("float32", data, dims);
const RGB = 2; // of the embedding
let embed, moved, maps, blend, embedded;

async function sessions() {
  const load = async (name) => ort.InferenceSession.create(`/page/built/${name}.onnx`, { executionProviders: ["wasm"] });
  embed ??= await load("embed");
  moved ??= await load("moved");
  maps ??= await load("maps");
  blend ??= await Blend.load(await (await fetch("/page/built/fvc_blend.wasm")).arrayBuffer());
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

async function takeFrame({ values, recent }) { // export/page_graphs.py says what is done where
  const one = driving(values), embedding = {}, near = embedded.near(one, recent);
  near.forEach(({ data, dims }, k) => k !== RGB && (embedding[embed.outputNames[k]] = tensor(data, ...dims)));
  const { flow, blend: weights, ...sampled } = await moved.run({
    ...embedding, position: tensor(one.position, 1, 43, 2), jacobian: tensor(one.jacobian, 1, 43, 2, 2),
    presence: tensor(one.presence, 1, 43), recent: tensor(recent, 4, 43, 2),
  });
  const rgb = blend.sample(near[RGB].data, flow.data, weights.data);
  const drawn = await maps.run({
    ...sampled, rgb: tensor(rgb, 1, 12, SIDE / 2, SIDE / 2), expression: tensor(one.expression, 1, 16),
  });
  return blend.finish(drawn.maps.data);
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
