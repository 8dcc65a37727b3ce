// Camera pictures -> 33 landmarks, by our own network (models/landmark_net.py) in ONNX Runtime.
//
// The network gives landmarks for any square, face or not. Two looks that differ in place and size tell which: of a
// face their landmarks agree to 2 % of the distance of the eyes, of other things they are up to ten times farther apart
// (docs/CALLS.md). So a face is searched for in squares of several sizes, and lost when two looks disagree.

const SIDE = 256, ROOM = 1.65; // side of the network's square over the face's extent
const FOUND = 0.025, LOST = 0.12; // distances of two looks' landmarks, in distances of the outer eye corners
const CHECK = 8; // frames between two checks of a face that is followed
const SIZES = [1, 0.7, 0.5, 0.35]; // of the squares that are searched, over the shorter side of the picture
const STEP = 0.4, BUDGET = 60; // of a square's side from one to the next; milliseconds of search at a time
const EYES = [17, 18]; // outer corners: codec/face/landmarks.py

export const eyeDistance = (points) =>
  Math.hypot(points[2 * EYES[0]] - points[2 * EYES[1]], points[2 * EYES[0] + 1] - points[2 * EYES[1] + 1]);

function apart(a, b) { // mean distance of landmarks, in distances of a's outer eye corners
  let sum = 0;
  for (let k = 0; k < a.length; k += 2) sum += Math.hypot(a[k] - b[k], a[k + 1] - b[k + 1]);
  return (2 * sum) / a.length / Math.max(eyeDistance(a), 1e-3);
}

function around(points) { // the square to look at, of a face that was there
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let k = 0; k < points.length; k += 2) {
    [left, right] = [Math.min(left, points[k]), Math.max(right, points[k])];
    [top, bottom] = [Math.min(top, points[k + 1]), Math.max(bottom, points[k + 1])];
  }
  const side = ROOM * Math.max(right - left, bottom - top);
  return { x: (left + right - side) / 2, y: (top + bottom - side) / 2, side };
}

export function* squares(width, height) { // to search, the likely ones first: large, and near the middle
  for (const size of SIZES) {
    const side = size * Math.min(width, height), all = [];
    const starts = (length) => {
      const count = Math.ceil((length - side) / (STEP * side)) + 1;
      return Array.from({ length: count }, (_, n) => (count > 1 ? (n * (length - side)) / (count - 1) : 0));
    };
    for (const y of starts(height)) for (const x of starts(width)) all.push({ x, y, side });
    const far = ({ x, y }) => Math.hypot(x + side / 2 - width / 2, y + side / 2 - height / 2);
    yield* all.sort((a, b) => far(a) - far(b));
  }
}

export class LandmarkTracker {
  static async load(ort, address) {
    const tracker = new LandmarkTracker();
    tracker.session = await ort.InferenceSession.create(address, { executionProviders: ["wasm"] });
    tracker.tensor = (data) => new ort.Tensor("uint8", data, [1, SIDE, SIDE, 3]);
    tracker.canvas = new OffscreenCanvas(SIDE, SIDE).getContext("2d", { willReadFrequently: true });
    Object.assign(tracker, { last: null, checked: 0 });
    return tracker;
  }

  async track(picture) { // ImageBitmap -> Float32Array of 66 numbers, pixels of the picture; null: no face
    if (this.last) {
      const points = await this.look(picture, around(this.last));
      const isPlausible = apart(this.last, points) < 1 && eyeDistance(points) > 4;
      const isDue = ++this.checked % CHECK === 0 || !isPlausible;
      this.last = isDue && (await this.doubt(picture, points)) > LOST ? null : points;
    }
    return this.last ?? (this.last = await this.search(picture));
  }

  async search(picture) { // goes on with the next squares in the next picture
    const began = performance.now();
    do {
      const next = this.places?.next() ?? { done: true };
      if (next.done) this.places = squares(picture.width, picture.height);
      const place = next.value ?? this.places.next().value;
      const points = await this.look(picture, place), again = await this.look(picture, around(points));
      if (eyeDistance(again) > 8 && apart(again, points) < 0.2 && (await this.doubt(picture, again)) < FOUND) {
        this.places = null;
        return again;
      }
    } while (performance.now() - began < BUDGET);
    return null;
  }

  async doubt(picture, points) { // how far another look's landmarks are from these
    const { x, y, side } = around(points);
    return apart(points, await this.look(picture, { x: x + 0.08 * side, y: y - 0.05 * side, side: 1.12 * side }));
  }

  async look(picture, { x, y, side }) {
    const { canvas } = this;
    if (!(side >= 1 && side < 1e5)) return new Float32Array(66);
    canvas.fillStyle = "#7f7f7f";
    canvas.fillRect(0, 0, SIDE, SIDE);
    canvas.imageSmoothingQuality = "medium";
    canvas.drawImage(picture, x, y, side, side, 0, 0, SIDE, SIDE);
    const { data } = canvas.getImageData(0, 0, SIDE, SIDE), rgb = new Uint8Array(SIDE * SIDE * 3);
    for (let k = 0, n = 0; k < data.length; k += 4) {
      rgb[n++] = data[k];
      rgb[n++] = data[k + 1];
      rgb[n++] = data[k + 2];
    }
    const { inputNames, outputNames } = this.session;
    const found = await this.session.run({ [inputNames[0]]: this.tensor(rgb) });
    return Float32Array.from(found[outputNames[0]].data, (value, k) => (k % 2 ? y : x) + ((value + 1) * side) / 2);
  }
}
