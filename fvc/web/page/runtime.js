// ONNX Runtime for the two workers that draw.
import * as ort from "/page/built/ort.wasm.min.mjs";
import { Blend } from "./blend.js";

ort.env.wasm.wasmPaths = "/page/built/";
// For each worker. A thread waits for the others after every layer: where each has no core of its own, all are slower.
const cores = navigator.hardwareConcurrency || 1;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(Math.max(cores >> 1, 1), 4) : 1;
ort.env.logLevel = "error";

export const tensor = (data, ...dims) => new ort.Tensor(data instanceof Uint8Array ? "uint8" : "float32", data, dims);

export const loadNetwork = (name) =>
  ort.InferenceSession.create(`/page/built/${name}.onnx`, { executionProviders: ["wasm"] });

export const loadBlend = async () => Blend.load(await (await fetch("/page/built/fvc_blend.wasm")).arrayBuffer());
