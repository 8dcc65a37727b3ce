// The page: joins the room of its address, shows and plays the other end, and sends camera and microphone to it.
import { Drawing } from "./drawing.js";
import { Room } from "./room.js";
import { Speaking } from "./send/speaking.js";
import { Session } from "./session.js";
import { Speaker } from "./speaker.js";

const $ = (id) => document.getElementById(id);
const say = (text) => { $("status").textContent = text; };
const tell = (text) => { if ($("own").textContent !== text) $("own").textContent = text; };
const UNSEEN = 2000; // milliseconds without a face, after which it is said
const LAST_WORDS = 500; // milliseconds that the connection stays open after the farewell
const invited = Room.fromLocation(location);
let session, room, speaker, speaking, drawing, timer;
const figures = { drawn: 0, ms: 0, first: null };
window.fvc = { // for tests
  figures, get session() { return session; }, get speaking() { return speaking; }, get speaker() { return speaker; },
  get drawing() { return drawing; },
};

if (!invited) {
  for (const id of ["join", "watch"]) $(id).disabled = true;
  say("This address is no invitation: open the whole link, with the part after #.");
}

async function begin(isSending) {
  for (const id of ["join", "watch"]) $(id).disabled = true;
  say("Loading the networks ...");
  const context = new AudioContext({ sampleRate: 48000 });
  speaker = new Speaker(context);
  const [settings, resources] = await Promise.all([
    (await fetch("/page/built/manifest.json")).json(), Session.resources(),
  ]);
  drawing = await Drawing.load($("face").getContext("2d"), figures, {
    accepted: (number) => session?.accept(number), refused: (number, error) => session?.refuse(number, error),
    began: () => say(""),
  });
  if (isSending) speaking = await speak(context, settings.model_hash);
  room = new Room(invited.name, invited.secret, {
    opened: () => open(resources, settings.model_hash),
    message: (label, data) => session?.take(label, data),
    closed: () => lose("The connection is lost; waiting for the other end ..."),
    failed: (reason) => end(`The call cannot be joined: ${reason}.`),
  });
  $("before").hidden = true;
  $("call").hidden = false;
  $("leave").focus();
  say("Waiting for the other end ...");
  await room.join();
  if (!speaking) timer = setInterval(() => session?.tick(), 15); // else its worker keeps the time
  setInterval(show, 1000);
}

async function speak(context, modelHash) { // null where this side can only watch; says why
  try {
    let unseen = performance.now();
    const found = await Speaking.open($("self"), context, modelHash, {
      tick: () => session?.tick(),
      packet: (packet) => session?.sending.send(packet, performance.now() / 1000),
      setups: ({ first }) => session?.sending.offer(first, speaking.soundBits),
      failed: (reason) => tell(`Your face cannot be sent: ${reason}.`),
      isSeen: (isFound) => {
        if (isFound) unseen = performance.now();
        const isAway = performance.now() > unseen + UNSEEN;
        const muted = speaking?.mutedBy ? `You cannot be heard: ${speaking.mutedBy}.` : "";
        tell(isAway ? "No face is seen: look into the camera." : speaking?.setups ? muted : "Taking pictures of your face ...");
      },
    });
    $("self").hidden = $("camera").hidden = false;
    $("microphone").hidden = !found.microphone;
    return found;
  } catch (error) {
    tell(`You can only watch and listen: ${String(error.message ?? error).replace(/\.$/, "")}.`);
    return null;
  }
}

function open(resources, modelHash) { // a new connection is a new session
  figures.opened = figures.began = performance.now();
  figures.connections = (figures.connections ?? 0) + 1;
  say("Somebody is there; waiting for the first picture ...");
  session = new Session(resources.codec, resources.shape, {
    modelHash, frame: (wanted) => drawing.draw(wanted), sources: (number, sources) => drawing.take(number, sources),
    sound: (packet, at) => speaker.take(packet, at),
    send: (label, data) => room.send(label, data),
    left: (reason) => end(`The other end has left${reason ? `: ${reason}` : ""}.`),
    keyframeWanted: () => { if (speaking) speaking.wantsKeyframe = true; },
    refused: (reason) => tell(`The other side does not accept your pictures: ${reason}.`),
    ready: (isFirst) => {
      if (!isFirst || !speaking?.setups) return;
      speaking.isPaused = false;
      speaking.start();
      session.sending.offer(speaking.setups.full, speaking.soundBits);
    },
  });
  if (speaking?.setups) session.sending.offer(speaking.setups.first, speaking.soundBits);
}

function lose(why) {
  session = null;
  if (speaking) speaking.isPaused = true;
  say(why);
}

function show() {
  if (!session) return;
  const seconds = (performance.now() - figures.began) / 1000, { count, sending } = session;
  const kbps = (bytes) => `${((bytes * 8) / 1000 / seconds).toFixed(1)} kbit/s on the wire`;
  const rows = {
    "received": kbps(count.bytes),
    "pictures": `${(figures.drawn / seconds).toFixed(1)} a second, ${figures.ms.toFixed(0)} ms each`,
    "frames": `${count.decoded} decoded, ${count.held} held`,
    "refused": `${count.refused} messages`,
    "sent": kbps(count.sent),
  };
  if (speaking && sending.isReady) {
    const { frames, missed, trackMs } = speaking.count, link = sending.estimate;
    rows["own frames"] = `${frames} coded, ${missed} left out, ${trackMs.toFixed(0)} ms to find the face`;
    rows["link"] = `${(link.rate / 1000).toFixed(0)} kbit/s may be sent, ${(100 * link.loss).toFixed(0)} % lost`;
  }
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
  speaking?.stop();
  $("self").hidden = true;
  say(why);
}

function toggle(id, name, change) { // a button that is on at first
  let isOn = true;
  $(id).onclick = () => {
    isOn = !isOn;
    change(isOn);
    $(id).textContent = `${name} ${isOn ? "on" : "off"}`;
    $(id).setAttribute("aria-pressed", String(isOn));
  };
}

const start = (isSending) => begin(isSending).catch((error) => end(`That failed: ${error.message ?? error}`));
$("join").onclick = () => start(true);
$("watch").onclick = () => start(false);
$("leave").onclick = () => { session?.leave(); setTimeout(() => end("You have left."), LAST_WORDS); };
toggle("sound", "Sound", (isOn) => { speaker.gain.gain.value = isOn ? 1 : 0; });
toggle("microphone", "Microphone", (isOn) => speaking?.mute(!isOn));
toggle("camera", "Camera", (isOn) => { speaking?.hide(!isOn); tell(""); });
