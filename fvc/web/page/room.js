// Meeting in a room and the connection of two ends: specification, 12.1. See fvc/web/rtc.py, which does the same.

const text = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const bytes = (encoded) => Uint8Array.from(atob(encoded.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const AGAIN = [500, 1000, 2000, 5000]; // milliseconds until the server is tried again
const MOST_WAITING = 8000; // bytes in a media channel

export class Room {
  // handlers: opened(), message(label, Uint8Array), closed(), failed(reason)
  constructor(name, secret, handlers) {
    Object.assign(this, { name, secret, handlers, own: text(crypto.getRandomValues(new Uint8Array(16))) });
    this.channels = {};
    this.other = "";
    this.tries = 0;
  }

  static fromLocation(place) {
    const name = place.pathname.replace(/^\/r\//, "");
    const secret = place.hash.length === 23 ? bytes(place.hash.slice(1)) : new Uint8Array();
    return /^[\w-]{16,64}$/.test(name) && secret.length === 16 ? { name, secret } : null;
  }

  async join() {
    this.key = await crypto.subtle.importKey("raw", this.secret, "AES-GCM", false, ["encrypt", "decrypt"]);
    this.ice = (await (await fetch("/settings")).json()).iceServers;
    this.attend();
  }

  attend() {
    const where = `${location.protocol.replace("http", "ws")}//${location.host}/ws/${this.name}?name=${this.own}`;
    this.socket = new WebSocket(where);
    this.queue = Promise.resolve(); // messages are taken one after the other
    this.socket.onmessage = ({ data }) => {
      this.queue = this.queue.then(() => this.take(JSON.parse(data))).catch(() => this.hangUp());
    };
    this.socket.onclose = () => {
      if (!this.over) setTimeout(() => this.over || this.attend(), AGAIN[Math.min(this.tries++, 3)]);
    };
  }

  async take(message) {
    this.tries = 0;
    if (message.type === "refused") {
      this.over = true;
      this.handlers.failed(String(message.reason));
    } else if (message.type === "peer" && message.calls && (message.name !== this.other || !this.isOpen)) {
      const connection = this.connect(message.name);
      this.adopt(connection, connection.createDataChannel("fvc-control"));
      this.adopt(connection, connection.createDataChannel("fvc-media", { ordered: false, maxRetransmits: 0 }));
      await connection.setLocalDescription();
      await this.say("offer", connection);
    } else if (message.type === "message") {
      const said = await this.open(message.text);
      if (said && said.from === message.from && (said.to === this.own || said.to === "")) await this.answer(said);
    }
  }

  async answer(said) {
    if (said.type === "offer") {
      const connection = this.connect(said.from);
      await connection.setRemoteDescription({ type: "offer", sdp: String(said.sdp) });
      await connection.setLocalDescription();
      await this.say("answer", connection);
    } else if (said.type === "answer" && said.from === this.other) {
      await this.connection.setRemoteDescription({ type: "answer", sdp: String(said.sdp) });
    }
  }

  async say(type, connection) {
    await new Promise((done) => { // one description with all candidates
      const check = () => connection.iceGatheringState === "complete" && done();
      connection.addEventListener("icegatheringstatechange", check);
      setTimeout(done, 3000);
      check();
    });
    const plain = JSON.stringify({ type, sdp: connection.localDescription.sdp, from: this.own, to: this.other });
    const nonce = crypto.getRandomValues(new Uint8Array(12));
    const sealed = await crypto.subtle.encrypt(this.cipher(nonce), this.key, new TextEncoder().encode(plain));
    if (this.socket.readyState === 1) this.socket.send(text(new Uint8Array([...nonce, ...new Uint8Array(sealed)])));
  }

  async open(sealed) { // null where it was not sealed with this link's key
    try {
      const data = bytes(String(sealed));
      const plain = await crypto.subtle.decrypt(this.cipher(data.slice(0, 12)), this.key, data.slice(12));
      return JSON.parse(new TextDecoder().decode(plain));
    } catch {
      return null;
    }
  }

  cipher(iv) {
    return { name: "AES-GCM", iv, additionalData: new TextEncoder().encode(this.name) };
  }

  connect(other) {
    this.hangUp();
    const connection = new RTCPeerConnection({ iceServers: this.ice });
    Object.assign(this, { connection, other });
    connection.ondatachannel = ({ channel }) => this.adopt(connection, channel);
    connection.onconnectionstatechange = () => {
      if (connection === this.connection && ["failed", "closed"].includes(connection.connectionState)) this.noteClosed();
    };
    return connection;
  }

  adopt(connection, channel) {
    const isOurs = ["fvc-control", "fvc-media"].includes(channel.label) && !this.channels[channel.label];
    if (connection !== this.connection || !isOurs) return;
    this.channels[channel.label] = channel;
    channel.binaryType = "arraybuffer";
    channel.onopen = () => {
      const all = Object.values(this.channels);
      if (all.length < 2 || all.some((one) => one.readyState !== "open") || this.isOpen) return;
      this.isOpen = true;
      this.handlers.opened();
    };
    channel.onmessage = ({ data }) => {
      if (connection === this.connection && data instanceof ArrayBuffer && data.byteLength <= 4096)
        this.handlers.message(channel.label, new Uint8Array(data));
    };
    channel.onclose = () => connection === this.connection && this.noteClosed();
    if (channel.readyState === "open") channel.onopen();
  }

  send(label, data) {
    const channel = this.channels[label];
    const isFull = label === "fvc-media" && channel?.bufferedAmount > MOST_WAITING; // behind it, frames would come too late
    if (channel?.readyState === "open" && !isFull) channel.send(data);
  }

  noteClosed() {
    if (this.isOpen) this.handlers.closed();
    this.isOpen = false;
  }

  hangUp() {
    const old = this.connection;
    this.connection = null;
    this.channels = {};
    this.other = "";
    this.noteClosed();
    old?.close();
  }

  leave() {
    this.over = true;
    this.hangUp();
    this.socket?.close();
  }
}
