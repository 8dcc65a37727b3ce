// The microphone's samples, in pieces of 20 ms, with the place of the first in the audio context's time.
class Voice extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(960);
    this.filled = 0;
  }

  process([[samples]]) {
    for (const sample of samples ?? []) {
      if (this.filled === 0) this.start = currentFrame;
      this.piece[this.filled++] = sample;
      if (this.filled < this.piece.length) continue;
      this.port.postMessage({ start: this.start, piece: this.piece });
      this.filled = 0;
    }
    return true;
  }
}
registerProcessor("fvc-voice", Voice);
