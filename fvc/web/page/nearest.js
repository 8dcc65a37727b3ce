// The source pictures that a frame is drawn from: the nearest four (models/inference/nearest.py).
const DRAWN_FROM = 4;
const CONFIDENCE_TENSOR = 3, CONFIDENCE_CHANNEL = 2; // of the embedding
const FADING = 0.3, LEAST_SHARE = 1e-4;

export class EmbeddedSources {
  // rows: of each source, the tensors of its embedding, [1, ...]; positions: its keypoints, 43 x 2
  constructor(rows, positions) {
    Object.assign(this, { rows, positions });
  }

  near(driving, recent) { // a frame's inputs, positions before it -> the embedding of its sources: [{ data, dims }]
    const { numbers, logShares } = this.choose(driving, recent);
    if (numbers.join() !== this.joined) {
      this.joined = numbers.join();
      this.stacked = this.rows[0].map((_, tensor) => stack(numbers.map((n) => this.rows[n][tensor])));
    }
    const { data, dims } = this.stacked[CONFIDENCE_TENSOR], raised = data.slice();
    const pixels = dims[2] * dims[3];
    logShares.forEach((value, k) => {
      const start = (k * dims[1] + CONFIDENCE_CHANNEL) * pixels;
      for (let n = start; n < start + pixels; n++) raised[n] += value;
    });
    return this.stacked.map((tensor, n) => (n === CONFIDENCE_TENSOR ? { data: raised, dims } : tensor));
  }

  choose({ position, presence }, recent) { // -> { numbers, ascending; logShares }
    const all = this.positions.map((_, n) => n);
    if (all.length <= DRAWN_FROM) return { numbers: all, logShares: all.map(() => 0) };
    const poses = [position, ...[0, 1, 2, 3].map((moment) => recent.subarray(86 * moment, 86 * moment + 86))];
    const centred = poses.map((pose) => aboutMean(pose, presence));
    const apart = this.positions.map((source) => {
      const own = aboutMean(source, presence);
      return centred.reduce((sum, pose) => sum + squaredDistance(pose, own), 0);
    });
    const order = all.toSorted((a, b) => apart[a] - apart[b] || a - b);
    const numbers = order.slice(0, DRAWN_FROM).sort((a, b) => a - b), limit = apart[order[DRAWN_FROM]];
    const share = (n) => (limit > 0 ? Math.min(Math.max((1 - apart[n] / limit) / FADING, LEAST_SHARE), 1) : 1);
    return { numbers, logShares: numbers.map((n) => Math.log(share(n))) };
  }
}

function aboutMean(keypoints, presence) { // those that are absent: 0
  const mean = [0, 0], count = presence.reduce((sum, is) => sum + is, 0);
  keypoints.forEach((value, k) => (mean[k & 1] += (value * presence[k >> 1]) / count));
  return keypoints.map((value, k) => (value - mean[k & 1]) * presence[k >> 1]);
}

const squaredDistance = (a, b) => a.reduce((sum, value, k) => sum + (value - b[k]) ** 2, 0);

function stack(tensors) { // [1, ...] each -> [K, ...]
  const data = new Float32Array(tensors.reduce((sum, one) => sum + one.data.length, 0));
  let place = 0;
  for (const one of tensors) {
    data.set(one.data, place);
    place += one.data.length;
  }
  return { data, dims: [tensors.length, ...tensors[0].dims.slice(1)] };
}
