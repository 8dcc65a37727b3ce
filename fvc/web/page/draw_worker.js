// Draws in a thread of its own: source pictures (AV1, by WebCodecs) -> embedding, once; a frame's numbers -> pixels.
// export/page_graphs.py says what the networks are. redraw_worker.js makes the pixels of a frame while the next one is
// moved here: two cores draw twice as many pictures so, which two threads in one network do not.
import { EmbeddedSources } from "./nearest.js";
import { SIDE, decodePictures } from "./pictures.js";
import { loadBlend, loadNetwork, tensor } from "./runtime.js";
import { driving } from "./stream.js";

const RGB = 2; // of the embedding
let embed, moved, blend, embedded;
const redrawer = new Worker("/page/redraw_worker.js", { type: "module" });
let redrawn = Promise.resolve(); // the frame that is there at the moment; it never fails

const ask = (message, transferred = []) => new Promise((found, failed) => { // of the redrawer
  redrawer.onmessage = ({ data }) => (data.error ? failed(new Error(data.error)) : found(data));
  redrawer.onerror = () => failed(new Error("the networks cannot be loaded"));
  redrawer.postMessage(message, transferred);
});

async function sessions() {
  embed ??= await loadNetwork("embed");
  moved ??= await loadNetwork("moved");
  blend ??= await loadBlend();
}

async function takeSources(sources) {
  await sessions();
  const pictures = await decodePictures(sources.map(({ coded }) => coded));
  const bytes = 3 * SIDE * SIDE, rows = [];
  for (const [k, { values }] of sources.entries()) {
    const one = driving(values);
    const found = await embed.run({
      pictures: tensor(pictures.subarray(k * bytes, (k + 1) * bytes), 1, SIDE, SIDE, 3),
      position: tensor(one.position, 1, 43, 2), jacobian: tensor(one.jacobian, 1, 43, 2, 2),
      presence: tensor(one.presence, 1, 43),
    });
    rows.push(embed.outputNames.map((name) => found[name]));
  }
  embedded = new EmbeddedSources(rows, sources.map(({ values }) => driving(values).position));
}

async function sampled({ values, recent }) { // what the redrawer needs for a frame
  const one = driving(values), embedding = {}, near = embedded.near(one, recent);
  near.forEach(({ data, dims }, k) => k !== RGB && (embedding[embed.outputNames[k]] = tensor(data, ...dims)));
  const { flow, blend: weights, ...rest } = await moved.run({
    ...embedding, position: tensor(one.position, 1, 43, 2), jacobian: tensor(one.jacobian, 1, 43, 2, 2),
    presence: tensor(one.presence, 1, 43), recent: tensor(recent, 4, 43, 2),
  });
  const rgb = blend.sample(near[RGB].data, flow.data, weights.data);
  const plain = Object.entries(rest).map(([name, { data, dims }]) => [name, { data, dims }]);
  return { rgb, sampled: { ...Object.fromEntries(plain), expression: { data: one.expression, dims: [1, 16] } } };
}

async function redraw(frame, began, message) {
  try {
    const { rgba } = await ask(message, [message.rgb.buffer]);
    self.postMessage({ frame, rgba, ms: performance.now() - began }, [rgba.buffer]);
  } catch (error) {
    self.postMessage({ frame, error: String(error.message ?? error) });
  }
}

async function take(data) {
  const began = performance.now();
  if (data.load) {
    await Promise.all([sessions(), ask({ load: true })]);
    self.postMessage({ loaded: true });
  } else if (data.sources) {
    await takeSources(data.sources);
    await redrawn; // answers have the order of the questions
    self.postMessage({ number: data.number, accepted: true });
  } else {
    const message = await sampled(data);
    await redrawn;
    redrawn = redraw(data.frame, began, message);
  }
}

let busy = Promise.resolve();
self.onmessage = ({ data }) => {
  busy = busy.then(() => take(data)).catch(async (error) => {
    await redrawn;
    self.postMessage({ number: data.number, frame: data.frame, error: String(error.message ?? error) });
  });
};
