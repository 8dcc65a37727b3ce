// The part of drawing that is not a network, in fvc_blend.wasm: see export/c/fvc_blend.c.
const SIDE = 256, PLANES = 3 * SIDE * SIDE, FLOW_PIXELS = 64 * 64, MOST = 4; // sources

export class Blend {
  static async load(module) {
    const { instance } = await WebAssembly.instantiate(module, {}), { exports } = instance, blend = new Blend();
    exports._initialize?.();
    const floats = (name, count) => new Float32Array(exports.memory.buffer, exports[`fvc_blend_${name}`](), count);
    return Object.assign(blend, { // the module's memory never grows, so these stay valid
      exports, picture: floats("picture", PLANES), flow: floats("flow", MOST * FLOW_PIXELS * 2),
      weights: floats("weights", MOST * FLOW_PIXELS), rgb: floats("rgb", PLANES), maps: floats("maps", (PLANES / 3) * 4),
      pixels: new Uint8ClampedArray(exports.memory.buffer, exports.fvc_blend_pixels(), 4 * SIDE * SIDE),
    });
  }

  sample(sources, flow, weights) { // sources: RGB, [K, 3, 256, 256] -> RGB in quarters
    const count = sources.length / PLANES;
    if (sources !== this.sources) {
      this.sources = sources;
      for (let n = 0; n < count; n++) {
        this.picture.set(sources.subarray(n * PLANES, (n + 1) * PLANES));
        this.exports.fvc_blend_source(n);
      }
    }
    this.flow.set(flow);
    this.weights.set(weights);
    this.exports.fvc_blend_sample(count);
    return this.rgb.slice();
  }

  finish(rgb, maps) { // what was sampled, over what was redrawn -> RGBA
    this.rgb.set(rgb);
    this.maps.set(maps);
    this.exports.fvc_blend_finish();
    return this.pixels.slice();
  }
}
