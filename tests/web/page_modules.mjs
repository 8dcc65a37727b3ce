// Runs the page's modules in node for tests/web/test_page_sends.py: one JSON object in, one out.
import { readFileSync } from "node:fs";

import { Packetizer } from "../../fvc/web/page/send/datagrams.js";
import { LinkEstimate, bestWay, ways } from "../../fvc/web/page/send/link.js";
import { Coefficients, FrameEncoder, chooseCrop } from "../../fvc/web/page/send/motion.js";
import { Sending } from "../../fvc/web/page/send/sending.js";
import { bareUnits, chooseSources, pixelsHash, sourceSet, streamHeader, unhex } from "../../fvc/web/page/send/sources.js";
import { Session } from "../../fvc/web/page/session.js";
import { Codec, Shape, parseHeader } from "../../fvc/web/page/stream.js";

const root = new URL("../../", import.meta.url);
const bytes = (path) => new Uint8Array(readFileSync(new URL(path, root)));
const hex = (data) => Buffer.from(data).toString("hex");
const plain = ({ kind, number, payload }) => ({ kind, number, payload: hex(payload) });

const jobs = {
  async frames({ header, crop, points, key }) { // landmarks of frames -> packets, and the integers that were chosen
    const codec = await Codec.load(bytes("export/c/fvc.wasm"), bytes("codec/motion/priors.bin"));
    const coefficients = new Coefficients(new Shape(bytes("codec/motion/shape.bin")));
    const encoder = new FrameEncoder(codec, coefficients, unhex(header), crop), integers = [];
    const packets = points.map((one, n) => {
      const packet = encoder.encode(n, one, 2 * n, n === key);
      integers.push(one ? [...codec.encoded()] : null);
      return plain(packet);
    });
    return { packets, integers };
  },
  datagrams({ packets, changes }) { // changes: { place: [copies, frames] }
    const packetizer = new Packetizer();
    return packets.flatMap(({ kind, number, payload }, n) => {
      if (changes[n]) packetizer.change(...changes[n]);
      return packetizer.add({ kind, number, payload: unhex(payload) }).map(hex);
    }).concat(packetizer.flush().map(hex));
  },
  crops: ({ boxes, width, height }) => boxes.map((one) => chooseCrop(one, width, height)),
  choice: ({ faces }) => chooseSources(faces),
  async sources({ modelHash, coded, samples, crop, pixels, audio }) {
    const units = coded.map((data) => bareUnits(unhex(data)));
    const { bytes: set, hash } = await sourceSet(unhex(modelHash), units, samples);
    const names = await pixelsHash(unhex(pixels));
    const header = streamHeader(unhex(modelHash), crop, hash, names, audio);
    return { set: hex(set), header: hex(header), parsed: parseHeader(header) };
  },
  units: ({ data }) => data.map((one) => {
    try {
      return hex(bareUnits(unhex(one)));
    } catch (error) {
      return error.message;
    }
  }),
  link({ events }) { // [sent, arrived, size, now], or [now, oldest] -> rates, and ways for them
    const estimate = new LinkEstimate(), choices = ways(15, 1100, 6000);
    let used;
    return events.map((event) => {
      if (event.length === 1) estimate.lost();
      else if (event.length === 2) estimate.tick(...event);
      else estimate.came(...event);
      used = bestWay(choices, estimate.rate, estimate.loss, used);
      return [estimate.rate, estimate.queue, estimate.loss, used.frames, used.copies];
    });
  },
  session({ setup, packets, seconds }) { // a set-up and packets to an end that confirms all at once -> messages
    const messages = [];
    const sending = new Sending((label, data) => messages.push([label, hex(data)]), () => []);
    const early = sending.takeAnswer(0, true); // nothing was offered yet
    sending.offer(unhex(setup), 6000);
    let ready = null;
    for (let now = 0; now < seconds; now += 0.02) {
      const before = messages.length;
      sending.tick(now);
      for (const [, message] of messages.slice(before)) {
        const data = unhex(message);
        sending.takeGot(data[1], (data[2] << 8) | data[3], Math.floor(now / 0.004) % 65535, now);
      }
      if (!sending.pace.waiting.length && !ready) ready = sending.takeAnswer(1, true);
      if (ready && packets.length) {
        const { kind, number, payload } = packets.shift();
        sending.send({ kind, number, payload: unhex(payload) }, now);
        sending.takeFeedback(sending.flight.next - 1, [Math.floor(now / 0.004) % 65535], now);
      }
    }
    sending.close(seconds);
    return { messages, early, ready, rate: sending.estimate.rate };
  },
  async outage({ header, messages }) { // datagrams in messages -> the newest frame after each
    const codec = await Codec.load(bytes("export/c/fvc.wasm"), bytes("codec/motion/priors.bin"));
    const session = new Session(codec, new Shape(bytes("codec/motion/shape.bin")), { send: () => {}, frame: () => {} });
    codec.begin(unhex(header));
    Object.assign(session, { header: parseHeader(unhex(header)), accepted: true });
    return messages.map((message) => {
      session.take("fvc-media", unhex(message));
      return session.newest;
    });
  },
  async nonsense({ header, messages }) { // [label, message] from a hostile end -> how many were taken
    const codec = await Codec.load(bytes("export/c/fvc.wasm"), bytes("codec/motion/priors.bin")), events = [], sent = [];
    const note = (name) => (...what) => events.push(name);
    const handlers = { modelHash: "", send: (...message) => sent.push(message), keyframeWanted: note("keyframe") };
    for (const name of ["sources", "frame", "sound", "ready", "refused", "left"]) handlers[name] = note(name);
    const session = new Session(codec, new Shape(bytes("codec/motion/shape.bin")), handlers);
    codec.begin(unhex(header));
    Object.assign(session, { header: parseHeader(unhex(header)), accepted: true });
    for (const [label, message] of messages) {
      session.take(label, unhex(message));
      session.tick();
    }
    await new Promise((done) => setTimeout(done, 50)); // set-ups are looked at meanwhile
    const { count, pieces, waiting, arrivals, sounds } = session;
    return { count, ready: events.includes("ready"), kept: [pieces.length, waiting.size, arrivals.size, sounds.size] };
  },
};

const { job, ...given } = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(await jobs[job](given)));
