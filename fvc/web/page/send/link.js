// How fast the link may be sent to: codec/channel/congestion.py and feedback.py, whose comments say why. All times are
// in seconds, rates in bits per second.

export const HEADER_BYTES = 93; // of a message on the wire
const START = 7000, LEAST = 4000, MOST = 500000;
const FULL = 0.12, EMPTY = 0.05, WINDOW = 15, RECENT = 1.2, STANDING = 0.7, ENOUGH = 5;
const START_GAIN = 1.25, START_INTERVAL = 0.3, HEADROOM = 1.35, CRUISE = 0.85, DRAIN = 0.75;
const PROBE = 0.8, PROBE_GAIN = 1.35, SETTLE = 2, PAUSE = 8, MOST_PAUSE = 64, FALL_INTERVAL = 0.7;
const LOSS_WINDOW = 60, SUSPECTED = 0.05, QUICK = 3, LOSSES = [0.03, 0.15], CAREFUL = 1.05, SILENCE = 2.5;
const TICK = 0.004, MOST_FLYING = 256, GIVEN_UP = 6;

export function ways(fps, motion, sound) { // [{ frames, copies, bits }]: how packets may become datagrams
  const needed = (datagrams, copies) => 8 * datagrams * (HEADER_BYTES + 3 + 8) + 24 * datagrams * (1 + copies)
    + 1.15 * motion * (1 + copies) + sound;
  return [8, 6, 5, 4, 3, 2, 1].flatMap((frames) =>
    [0, 1, 2, 3].map((copies) => ({ frames, copies, bits: needed(fps / frames, copies) })));
}

export function bestWay(choices, rate, loss, used) { // the quickest that fits, with the copies that the loss asks for
  const least = LOSSES.filter((limit) => loss > limit).length;
  const limit = used ? Math.min(rate, Math.max(used.bits, rate / CAREFUL)) : rate;
  const fitting = choices.filter((way) => way.bits <= limit && way.copies >= least);
  const quick = fitting.filter((way) => way.frames <= QUICK);
  const best = (list, worth) => list.reduce((a, b) => (worth(b) > worth(a) ? b : a));
  if (quick.length) return best(quick, (way) => way.bits);
  return fitting.length ? best(fitting, (way) => -way.frames) : best(choices, (way) => -way.bits);
}

export class LinkEstimate {
  constructor() {
    Object.assign(this, { rate: START, queue: 0, carried: null, transits: [], waited: [], arrived: [], losses: [] });
    Object.assign(this, { heard: -Infinity, changed: -Infinity, probe: null, pause: PAUSE, nextProbe: Infinity, worst: 0 });
  }

  get loss() { // share of the last messages that did not come
    const known = this.losses.length, sum = this.losses.filter(Boolean).length;
    return known >= LOSS_WINDOW / 2 ? sum / known : Math.max(SUSPECTED, sum / Math.max(known, 1));
  }

  note(isLost) {
    this.losses.push(isLost);
    if (this.losses.length > LOSS_WINDOW) this.losses.shift();
  }

  lost() {
    this.note(true);
  }

  came(sent, arrived, size, now) { // sent by our clock, arrived by the other side's; size in bytes on the wire
    this.note(false);
    this.heard = now;
    const transit = arrived - sent, { transits, waited } = this;
    while (transits.length && transits.at(-1)[1] >= transit) transits.pop();
    transits.push([now, transit]);
    while (transits[0][0] < now - WINDOW) transits.shift();
    this.arrived.push([arrived, size]);
    while (this.arrived[0][0] < arrived - RECENT) this.arrived.shift();
    const own = (8 * size) / Math.max(this.rate, 1);
    waited.push([now, Math.max(transit - transits[0][1] - Math.min(own, 0.25), 0)]);
    while (waited.length > (waited[0][0] < now - STANDING ? 2 : ENOUGH)) waited.shift();
    this.queue = Math.min(...waited.map(([, wait]) => wait));
    this.adapt(now);
  }

  tick(now, oldest) { // oldest: when the oldest message without a report was sent, or null
    if (oldest !== null && now - Math.max(oldest, this.heard, this.changed) > SILENCE) this.noteFull(now, this.rate / 2);
    else if (this.carried !== null) this.cruise(now, this.carried);
  }

  adapt(now) {
    this.worst = Math.max(this.worst, this.queue);
    if (this.queue > FULL && now > this.changed + FALL_INTERVAL + Math.min(2 * this.queue, 1)) {
      this.noteFull(now, this.arriving());
    } else if (this.carried === null && this.queue < EMPTY && now >= this.changed + START_INTERVAL) {
      this.changed = now;
      const room = HEADROOM * Math.max(this.arriving(), START);
      this.rate = Math.max(this.rate, Math.min(this.rate * START_GAIN, room, MOST));
    }
  }

  noteFull(now, carried) {
    const known = this.carried === null ? carried : Math.min(carried, PROBE_GAIN * this.carried);
    Object.assign(this, { carried: Math.min(Math.max(known, LEAST), MOST), changed: now, probe: null });
    this.nextProbe = now + this.pause;
    this.pause = Math.min(2 * this.pause, MOST_PAUSE);
    this.rate = Math.max((this.queue < 0.3 ? DRAIN : DRAIN / 2) * this.carried, LEAST);
  }

  cruise(now, carried) {
    if (this.probe === null && now >= this.nextProbe && this.queue < EMPTY) Object.assign(this, { probe: now, worst: 0 });
    if (this.probe !== null && now >= this.probe + SETTLE) this.judge(now, carried);
    else if (this.probe !== null && now < this.probe + PROBE) this.rate = Math.min(PROBE_GAIN * carried, MOST);
    else if (now > this.changed + SETTLE || this.probe !== null) this.rate = Math.max(CRUISE * carried, LEAST);
  }

  judge(now, carried) {
    this.probe = null;
    if (this.worst < FULL / 2) {
      const came = Math.min(this.arriving(), PROBE_GAIN * carried);
      Object.assign(this, { carried: Math.max(carried, came), pause: PAUSE });
      this.nextProbe = now + (came > carried ? 0.5 : this.pause);
    } else {
      this.nextProbe = now + this.pause;
      this.pause = Math.min(2 * this.pause, MOST_PAUSE);
    }
  }

  arriving() { // what came lately: what the link carries when it is full
    if (this.arrived.length < 3) return this.rate;
    const times = this.arrived.map(([when]) => when), count = this.arrived.length;
    const size = this.arrived.reduce((sum, [, bytes]) => sum + bytes, 0) * (1 - 1 / count);
    return (8 * size) / Math.max(Math.max(...times) - Math.min(...times), 0.8) / (1 - Math.min(this.loss, 0.4));
  }
}

export class Flight { // media messages until the other side has reported on them
  constructor(estimate) {
    Object.assign(this, { estimate, flying: new Map(), sent: [], next: 0, count: 0, known: -1, clock: null });
  }

  add(size, now) { // the number of a message that is sent now
    const number = this.next;
    this.next = (number + 1) & 0xffff;
    this.flying.set(number, { sent: now, size, place: this.count++ });
    this.sent.push([now, size]);
    if (this.sent.length > MOST_FLYING) this.sent.shift();
    while (this.flying.size > MOST_FLYING) this.flying.delete(this.flying.keys().next().value);
    return number;
  }

  rate(now) {
    return 8 * this.sent.reduce((sum, [when, size]) => sum + (when > now - 1 ? size : 0), 0);
  }

  take(newest, times, now) { // a report; times: ticks of messages newest, newest - 1 ..., null: not yet
    for (let back = times.length - 1; back >= 0; back--) {
      const number = (newest - back) & 0xffff, flown = this.flying.get(number);
      if (times[back] === null || !flown) continue;
      this.flying.delete(number);
      this.known = Math.max(this.known, flown.place);
      this.estimate.came(flown.sent, this.unwrap(times[back]), flown.size, now);
    }
  }

  unwrap(time) { // ticks of the other side's clock -> seconds, up to a constant
    const span = TICK * 0x10000, modulo = (x) => ((x % span) + span) % span;
    let seconds = time * TICK;
    if (this.clock !== null) seconds = this.clock + modulo(seconds - this.clock + span / 2) - span / 2;
    this.clock = this.clock === null ? seconds : Math.max(this.clock, seconds);
    return seconds;
  }

  tick(now) { // gives up messages that nothing was heard of
    const later = [...this.flying.values()].filter(({ place }) => place > this.known).map(({ sent }) => sent);
    this.estimate.tick(now, later.length ? Math.min(...later) : null);
    for (const [number, { sent }] of this.flying) {
      if (now <= sent + GIVEN_UP) continue;
      this.flying.delete(number);
      this.estimate.lost();
    }
  }
}
