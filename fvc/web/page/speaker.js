// Received sound: Opus by WebCodecs, on the line of time of the pictures.
export class Speaker {
  constructor(context) {
    this.context = context;
    this.gain = context.createGain();
    this.gain.connect(context.destination);
    this.times = [];
    this.packets = this.loudest = 0;
    this.decoder = new AudioDecoder({ output: (sound) => this.play(sound), error: () => { this.decoder = null; } });
    this.decoder.configure({ codec: "opus", sampleRate: 48000, numberOfChannels: 1 });
  }

  take(packet, at) {
    if (!this.decoder || !packet.length) return;
    this.times.push(at);
    this.decoder.decode(new EncodedAudioChunk({ type: "key", timestamp: 0, data: packet }));
  }

  play(sound) {
    const samples = new Float32Array(sound.numberOfFrames);
    sound.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
    sound.close();
    this.packets++;
    this.loudest = Math.max(this.loudest, Math.hypot(...samples.slice(0, 480)) / Math.sqrt(480));
    const buffer = this.context.createBuffer(1, samples.length, 48000), source = this.context.createBufferSource();
    buffer.copyToChannel(samples, 0);
    source.buffer = buffer;
    source.connect(this.gain);
    source.start(Math.max(this.context.currentTime + this.times.shift() - performance.now() / 1000, this.context.currentTime));
  }
}
