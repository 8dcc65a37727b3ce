// The page: joins the room of its address, and shows and plays the other end.
import { Room } from "/page/room.js";
import { Session } from "/page/session.js";

const $ = (id) => document.getElementById(id);
const say = (text) => { $("status").textContent = text; };
const invited = Room.fromLocation(location);
let session, room, audio, timer, isSounding = true;
const figures = { drawn: 0, ms: 0, first: null };
window.fvc = { figures, get session() { return session; } }; // for tests

if (!invited) {
  $("join").disabled = true;
  say("This address is no invitation: open the whole link, with the part after #.");
}

class Speaker { // Opus by WebCodecs, on the line of time of the pictures
  constructor() {
    this.context = new AudioContext({ sampleRate: 48000 });
    this.gain = this.context.createGain();
    this.gain.connect(this.context.destination);
    this.times = [];
    this.packets = 0;
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
    this.loudness = Math.hypot(...samples.slice(0, 480)) / Math.sqrt(480);
    figures.loudest = Math.max(figures.loudest ?? 0, this.loudness);
    const buffer = this.context.createBuffer(1, samples.length, 48000), source = this.context.createBufferSource();
    buffer.copyToChannel(samples, 0);
    source.buffer = buffer;
    source.connect(this.gain);
    source.start(Math.max(this.context.currentTime + this.times.shift() - performance.now() / 1000, this.context.currentTime));
  }
}

async function begin() {
  $("join").disabled = true;
  say("Loading the networks ...");
  const [settings, resources] = await Promise.all([
    (await fetch("/page/built/manifest.json")).json(), Session.resources(),
  ]);
  const worker = new Worker("/page/draw_worker.js", { type: "module" });
  await new Promise((loaded, failed) => { // before anybody waits for us
    worker.onmessage = ({ data }) => (data.loaded ? loaded() : failed(new Error(data.error)));
    worker.onerror = () => failed(new Error("the networks cannot be loaded"));
    worker.postMessage({ load: true });
  });
  const picture = $("face").getContext("2d");
  let isDrawing = false, next = null;
  const draw = (wanted) => {
    if (isDrawing) { next = wanted; return; } // late pictures are left out
    isDrawing = true;
    worker.postMessage(wanted);
  };
  worker.onmessage = ({ data }) => {
    if (data.accepted) { session?.accept(data.number); return; }
    if (data.error && data.number !== undefined) { session?.refuse(data.number, data.error); return; }
    isDrawing = false;
    if (data.error) figures.error = data.error;
    if (data.rgba) {
      picture.putImageData(new ImageData(data.rgba, 256, 256), 0, 0);
      figures.first ??= performance.now() - figures.opened;
      figures.drawn++;
      figures.frame = data.frame;
      figures.ms = figures.ms ? 0.9 * figures.ms + 0.1 * data.ms : data.ms;
      if (figures.drawn === 1) say("");
    }
    if (next) { const wanted = next; next = null; draw(wanted); }
  };
  const handlers = {
    modelHash: settings.model_hash, frame: draw,
    sources: (number, sources) => worker.postMessage({ number, sources }),
    sound: (packet, at) => audio?.take(packet, at),
    send: (label, data) => room.send(label, data),
    left: (reason) => end(`The other end has left${reason ? `: ${reason}` : ""}.`),
  };
  audio = new Speaker();
  room = new Room(invited.name, invited.secret, {
    opened: () => {
      figures.opened = performance.now();
      figures.connections = (figures.connections ?? 0) + 1;
      say("Somebody is there; waiting for the first picture ...");
      session = new Session(resources.codec, resources.shape, handlers);
      figures.began = performance.now();
    },
    message: (label, data) => session?.take(label, data),
    closed: () => { session = null; say("The connection is lost; waiting for the other end ..."); },
    failed: (reason) => end(`The call cannot be joined: ${reason}.`),
  });
  $("before").hidden = true;
  $("call").hidden = false;
  $("sound").focus();
  say("Waiting for the other end ...");
  await room.join();
  timer = setInterval(() => session?.tick(), 15);
  setInterval(show, 1000);
}

function show() {
  if (!session) return;
  const seconds = (performance.now() - figures.began) / 1000, { count } = session;
  const rows = {
    "received": `${((count.bytes * 8) / 1000 / seconds).toFixed(1)} kbit/s on the wire`,
    "pictures": `${(figures.drawn / seconds).toFixed(1)} a second, ${figures.ms.toFixed(0)} ms each`,
    "frames": `${count.decoded} decoded, ${count.held} without a face`,
    "refused": `${count.refused} messages`,
  };
  $("figures").replaceChildren(...Object.entries(rows).flatMap(([name, value]) => {
    const term = document.createElement("dt"), text = document.createElement("dd");
    [term.textContent, text.textContent] = [name, value];
    return [term, text];
  }));
}

function end(why) {
  clearInterval(timer);
  session = null;
  room?.leave();
  say(why);
}

$("join").onclick = () => begin().catch((error) => end(`That failed: ${error.message ?? error}`));
$("leave").onclick = () => { session?.leave(); setTimeout(() => end("You have left."), 100); };
$("sound").onclick = () => {
  isSounding = !isSounding;
  audio.gain.gain.value = isSounding ? 1 : 0;
  $("sound").textContent = isSounding ? "Sound on" : "Sound off";
  $("sound").setAttribute("aria-pressed", String(isSounding));
};
