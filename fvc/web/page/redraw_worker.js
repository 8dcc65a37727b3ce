// The second half of drawing, in a thread of its own: what was sampled of the sources -> pixels.
import { loadBlend, loadNetwork, tensor } from "./runtime.js";

let maps, blend;

async function answer({ load, rgb, sampled }) {
  maps ??= await loadNetwork("maps");
  blend ??= await loadBlend();
  if (load) return {};
  const given = Object.entries(sampled).map(([name, { data, dims }]) => [name, tensor(data, ...dims)]);
  const drawn = await maps.run({ rgb: tensor(rgb, 1, 12, 128, 128), ...Object.fromEntries(given) });
  return { rgba: blend.finish(rgb, drawn.maps.data) };
}

self.onmessage = async ({ data }) => { // one at a time: draw_worker.js waits
  try {
    const found = await answer(data);
    self.postMessage(found, found.rgba ? [found.rgba.buffer] : []);
  } catch (error) {
    self.postMessage({ error: String(error.message ?? error) });
  }
};
