// AV1 pictures of a source set <-> red, green, blue: specification, 7.1. BT.709, full range, 4:2:0; colours lie between
// the pixels of two rows, and on those of every second column.
export const SIDE = 256;
const HALF = SIDE / 2;
const clamp = (value) => (value < 0 ? 0 : value > 255 ? 255 : Math.round(value));

export async function decodePictures(coded) { // AV1 data of each -> uint8 [N, 256, 256, 3]
  const frames = [];
  let fault = null;
  const decoder = new VideoDecoder({ output: (frame) => frames.push(frame), error: (error) => { fault = error; } });
  decoder.configure({ codec: "av01.0.00M.08", codedWidth: SIDE, codedHeight: SIDE });
  coded.forEach((data, n) => decoder.decode(new EncodedVideoChunk({ type: n ? "delta" : "key", timestamp: n, data })));
  await decoder.flush().catch((error) => { fault ??= error; });
  if (decoder.state !== "closed") decoder.close();
  const out = new Uint8Array(coded.length * SIDE * SIDE * 3);
  const isRight = !fault && frames.length === coded.length
    && frames.every((frame) => frame.codedWidth === SIDE && frame.codedHeight === SIDE);
  for (const [n, frame] of frames.entries()) {
    if (isRight) {
      const yuv = new Uint8Array(frame.allocationSize());
      toRgb(yuv, await frame.copyTo(yuv), out.subarray(n * SIDE * SIDE * 3));
    }
    frame.close();
  }
  if (!isRight) throw new Error("a source picture cannot be decoded, or has the wrong size");
  return out;
}

function toRgb(yuv, planes, out) {
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

function chroma(yuv, { offset, stride }, row, column) { // bilinear
  const last = HALF - 1;
  const r0 = Math.min(Math.max(Math.floor(row), 0), last), r1 = Math.min(r0 + 1, last);
  const c0 = Math.floor(column), c1 = Math.min(c0 + 1, last), f = Math.min(Math.max(row - r0, 0), 1), g = column - c0;
  const p = (r, c) => yuv[offset + r * stride + c];
  return (p(r0, c0) * (1 - g) + p(r0, c1) * g) * (1 - f) + (p(r1, c0) * (1 - g) + p(r1, c1) * g) * f;
}

export function toYuv(rgb) { // uint8 [256, 256, 3] -> planes Y, U, V, one after the other
  const out = new Uint8Array(1.5 * SIDE * SIDE), cb = new Float32Array(SIDE * SIDE), cr = new Float32Array(SIDE * SIDE);
  for (let k = 0; k < SIDE * SIDE; k++) {
    const [r, g, b] = [rgb[3 * k], rgb[3 * k + 1], rgb[3 * k + 2]], luma = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    out[k] = clamp(luma);
    cb[k] = (b - luma) / 1.8556;
    cr[k] = (r - luma) / 1.5748;
  }
  for (const [n, plane] of [cb, cr].entries()) {
    for (let k = 0; k < HALF * HALF; k++) {
      const at = 2 * SIDE * Math.floor(k / HALF) + 2 * (k % HALF), left = k % HALF ? 1 : 0;
      const row = (start) => plane[start - left] + 2 * plane[start] + plane[start + 1];
      out[SIDE * SIDE + n * HALF * HALF + k] = clamp(128 + (row(at) + row(at + SIDE)) / 8);
    }
  }
  return out;
}
