/**
 * Tessera's realtime channels in a browser (docs/realtime.md). An ES module without dependencies:
 *
 *   import { connect } from "https://api.example/widgets/realtime.js";
 *
 *   const realtime = connect({ ticket: async () => (await post("/api/v1/realtime/ticket")).ticket });
 *   realtime.subscribe("stream:0199…", {
 *     onReset: async () => show(await get("/api/v1/streams/0199…")), // the present state; events go on from here
 *     onEvent: ({ seq, type, at, data }) => add(type, data),         // each once, in order, none left out
 *   });
 *
 * It reconnects with a growing, random pause (at once when the browser is online again), subscribes again from the last
 * event of each channel, drops what comes twice, and asks again where a number is missing.
 */

const PASSING = new Set([
  "RATE_LIMITED", "INTERNAL_ERROR", "SERVER_BUSY", "DATABASE_BUSY", "DATABASE_UNAVAILABLE", "TRANSACTION_CONFLICT",
]); // say nothing of the request: it is repeated

/**
 * @param {object} options
 * @param {() => Promise<string>} options.ticket gets a ticket: POST /api/v1/realtime/ticket in the user's name
 * @param {string} [options.url] the service's WebSocket; by default, of the service that this file comes from
 * @param {(state: "connecting"|"open"|"waiting"|"closed", why: string) => void} [options.onState]
 * @param {Storage} [options.storage] sessionStorage, say: positions outlive the page
 * @param {object} [options.timing] milliseconds: pause, longestPause, open, silence
 */
export function connect(options) {
  return new Realtime(options);
}

class Realtime {
  constructor({ ticket, url, onState, storage, timing }) {
    this.url = String(url ?? new URL("/api/v1/realtime", import.meta.url)).replace(/^http/, "ws");
    this.ticket = ticket;
    this.onState = onState;
    this.storage = storage;
    this.timing = { pause: 1000, longestPause: 30000, open: 10000, silence: 45000, ...timing };
    this.channels = new Map();
    this.lastId = 0;
    this.attempts = 0;
    this.skew = 0; // the server's clock less ours
    this.online = () => this.#online();
    globalThis.addEventListener?.("online", this.online);
    this.#open();
  }

  /**
   * Follow a channel. Events go to onEvent({channel, epoch, seq, type, at, data}). onReset({epoch, seq}) says that what
   * was before will not come, also at first without a position: fetch the present state. onRevoked({error, title}): no
   * more of it. onPresence({viewers, joined, left}): see `presence`. `position` is {epoch, seq} of the last event seen.
   */
  subscribe(name, { position, ...handlers } = {}) {
    const channel = { name, handlers, position: position ?? this.#remembered(name) };
    this.channels.set(name, channel);
    this.#ask(channel);
  }

  /** Follow it no more. */
  unsubscribe(name) {
    if (this.channels.delete(name)) this.#send({ op: "unsubscribe", channel: name });
  }

  /** Be counted as a viewer of a stream that is followed (or be there, in a call) until told to leave. */
  presence(name, { leave = false } = {}) {
    const channel = this.channels.get(name);
    if (!channel) return;
    channel.presenceDue = leave ? undefined : 0;
    if (leave) this.#send({ op: "presence", channel: name, leave: true });
    else this.#tick();
  }

  /** The position of a channel: {epoch, seq} of its last event here. */
  position(name) {
    return this.channels.get(name)?.position;
  }

  /** Say goodbye, for good. */
  close(why = "") {
    this.closed = true;
    globalThis.removeEventListener?.("online", this.online);
    this.#drop();
    this.#tell("closed", why);
  }

  // Connections

  async #open() {
    this.#drop();
    this.#tell("connecting", "");
    const attempt = (this.attempt = {}); // what an earlier one still says counts no more
    this.timer = setTimeout(() => this.#retry("no connection in time"), this.timing.open);
    let ticket;
    try {
      ticket = await this.ticket();
    } catch (error) {
      if (attempt === this.attempt) this.#retry(`no ticket: ${error?.message ?? error}`);
      return;
    }
    if (attempt !== this.attempt) return;
    try {
      this.socket = new WebSocket(this.url);
    } catch (error) {
      this.close(error.message); // the URL is none
      return;
    }
    this.socket.onopen = () => this.#send({ op: "auth", ticket });
    this.socket.onmessage = ({ data }) => this.#read(JSON.parse(data));
    this.socket.onclose = ({ code, reason }) => {
      if (code === 4003) this.close(reason);
      else this.#retry(`${code} ${reason}`.trim(), code === 4029 ? 3 : 0);
    };
  }

  #drop() {
    clearTimeout(this.timer);
    clearInterval(this.ticking);
    const socket = this.socket;
    this.attempt = this.socket = this.expires = undefined;
    this.ready = false;
    for (const channel of this.channels.values()) channel.asked = channel.again = undefined;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #retry(why, atLeast = 0) {
    this.#drop();
    this.attempts = Math.max(this.attempts, atLeast);
    const { pause, longestPause } = this.timing;
    const wait = Math.min(pause * 2 ** this.attempts++, longestPause) * (0.5 + Math.random() / 2);
    this.timer = setTimeout(() => this.#open(), wait);
    this.#tell("waiting", why);
  }

  /** The browser is online again: connect at once, or see whether the connection still lives. */
  #online() {
    if (!this.ready) this.#open();
    else this.#ping(Math.min(5000, this.timing.silence / 4));
  }

  #ping(patience) {
    this.deadline = Date.now() + patience;
    this.#send({ op: "ping" });
  }

  /** Every second, or as seldom as a hidden page may: what is due is sent, and who is silent is given up. */
  #tick() {
    if (!this.ready) return;
    const now = Date.now();
    const { silence, open } = this.timing;
    if (this.deadline && now > this.deadline) return this.#retry("no sign of life");
    // The server's own pings do not show in a browser.
    if (!this.deadline && now - this.heard > (silence * 4) / 9) this.#ping((silence * 5) / 9);
    if (this.expires && now + this.skew > this.renewAt) this.#renew();
    for (const channel of this.channels.values()) {
      if (channel.asked && now > channel.askedAt + open) return this.#retry("no answer");
      if (channel.again && now > channel.again) this.#ask(channel);
      if (now >= channel.presenceDue && !channel.asked) {
        channel.presenceDue = now + open;
        this.#send({ op: "presence", channel: channel.name });
      }
    }
  }

  async #renew() {
    this.renewAt = Date.now() + this.skew + 10000; // if this one fails
    const attempt = this.attempt;
    const ticket = await this.ticket().catch(() => undefined);
    if (ticket && attempt === this.attempt) this.#send({ op: "auth", ticket });
  }

  // Frames

  #send(frame) {
    if (this.socket?.readyState !== 1) return 0;
    this.socket.send(JSON.stringify({ ...frame, id: ++this.lastId }));
    return this.lastId;
  }

  #ask(channel) {
    if (!this.ready) return;
    channel.again = undefined;
    channel.askedAt = Date.now();
    channel.asked = this.#send({ op: "subscribe", channel: channel.name, ...channel.position });
  }

  #read(frame) {
    this.heard = Date.now();
    this.deadline = undefined;
    const { op, id } = frame;
    const channel = this.channels.get(frame.channel);
    if (op === "auth") this.#welcome(frame);
    else if (op === "ping") this.skew = Date.parse(frame.at) - Date.now();
    else if (op === "subscribe" && channel?.asked === id) this.#subscribed(channel, frame);
    else if (op === "events" && channel && !channel.asked) this.#events(channel, frame.events);
    else if (op === "revoked" && channel) this.#revoke(channel, frame);
    else if (op === "presence" && id === undefined) this.#call(channel, "onPresence", frame);
    else if (op === "presence" && channel?.presenceDue) {
      const left = frame.until ? Date.parse(frame.until) - this.skew - Date.now() : 30000;
      channel.presenceDue = Date.now() + Math.min(Math.max(left / 3, 1000), 20000);
    } else if (op === "error") this.#refused(frame);
  }

  #welcome({ expires_at }) {
    const now = Date.now() + this.skew;
    this.expires = expires_at && Date.parse(expires_at);
    this.renewAt = Math.max(this.expires - Math.min(60000, (this.expires - now) / 4), now + 1000);
    if (this.ready) return;
    clearTimeout(this.timer);
    this.ready = true;
    this.attempts = 0;
    this.ticking = setInterval(() => this.#tick(), Math.min(1000, this.timing.silence / 9));
    this.#ping((this.timing.silence * 5) / 9); // tells the server's time
    for (const channel of this.channels.values()) {
      this.#ask(channel);
      if (channel.presenceDue) channel.presenceDue = 0;
    }
    this.#tell("open", "");
  }

  #subscribed(channel, { epoch, seq, recovered }) {
    const before = channel.position;
    channel.asked = undefined;
    this.#remember(channel, { epoch, seq });
    const same = recovered && before && before.epoch === epoch && before.seq === seq;
    if (!same) this.#call(channel, "onReset", { epoch, seq });
  }

  #events(channel, events) {
    const { epoch } = channel.position;
    for (const event of events) {
      const last = channel.position.seq;
      if (event.seq <= last) continue;
      if (event.seq > last + 1) {
        if (channel.gap === last) return this.#retry(`${channel.name} has a gap after ${last}`);
        channel.gap = last;
        this.#ask(channel);
        break;
      }
      channel.position = { epoch, seq: event.seq };
      this.#call(channel, "onEvent", { channel: channel.name, epoch, ...event });
      if (this.closed || this.channels.get(channel.name) !== channel) break; // onEvent has left
    }
    this.#remember(channel, channel.position);
  }

  #refused({ id, error, title, retry_after }) {
    const channel = [...this.channels.values()].find(({ asked }) => asked === id);
    if (!channel) {
      if (!this.ready) this.#retry(error); // the ticket
      return;
    }
    channel.asked = undefined;
    if (PASSING.has(error)) channel.again = Date.now() + (retry_after * 1000 || this.timing.pause);
    else this.#revoke(channel, { error, title });
  }

  #revoke(channel, { error, title }) {
    this.channels.delete(channel.name);
    this.#call(channel, "onRevoked", { error, title });
  }

  // Those who listen, and what outlives the page

  /** What a handler throws is the page's own error, and stops nothing here. */
  #call(channel, name, value) {
    try {
      channel?.handlers[name]?.(value);
    } catch (error) {
      setTimeout(() => { throw error; });
    }
  }

  #tell(state, why) {
    if (this.state === state) return;
    this.state = state;
    this.onState?.(state, why);
  }

  #remembered(name) {
    try {
      return JSON.parse(this.storage?.getItem(`tessera:${name}`) ?? "null") ?? undefined;
    } catch {
      return undefined;
    }
  }

  #remember(channel, position) {
    channel.position = position;
    try {
      this.storage?.setItem(`tessera:${channel.name}`, JSON.stringify(position));
    } catch {} // full, or not allowed: then it ends with the page
  }
}
