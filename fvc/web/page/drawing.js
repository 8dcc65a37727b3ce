// Frames' numbers -> pictures on a canvas. The work is done in draw_worker.js; late pictures are left out.
// The worker draws in two halves, so two pictures may be there at once. Where the cores are taken that only makes each
// of them late.
const LATE = 100; // ms

export class Drawing {
  // canvas: its 2d context; figures: counts; handlers: accepted(number), refused(number, error), began()
  static async load(canvas, figures, handlers) {
    const drawing = new Drawing();
    Object.assign(drawing, { canvas, figures, handlers, asked: [], next: null });
    drawing.worker = new Worker("/page/draw_worker.js", { type: "module" });
    await new Promise((loaded, failed) => { // before anybody waits for us
      drawing.worker.onmessage = ({ data }) => (data.loaded ? loaded() : failed(new Error(data.error)));
      drawing.worker.onerror = () => failed(new Error("the networks cannot be loaded"));
      drawing.worker.postMessage({ load: true });
    });
    drawing.worker.onmessage = ({ data }) => drawing.show(data);
    return drawing;
  }

  take(number, sources) { // source pictures
    this.worker.postMessage({ number, sources });
  }

  draw(wanted) {
    if (this.asked.length >= (this.figures.ms > LATE ? 1 : 2)) {
      this.next = wanted;
      return;
    }
    this.asked.push(wanted);
    this.worker.postMessage(wanted);
  }

  show(data) {
    const { figures, handlers } = this;
    if (data.accepted) {
      this.setup = data.number;
      handlers.accepted(data.number);
      return;
    }
    if (data.error && data.number !== undefined) {
      handlers.refused(data.number, data.error);
      return;
    }
    const shown = this.asked.shift(); // answers have the order of the questions
    if (data.error) figures.error = data.error;
    if (data.rgba) {
      this.canvas.putImageData(new ImageData(data.rgba, 256, 256), 0, 0);
      figures.first ??= performance.now() - figures.opened;
      figures.drawn++;
      figures.frame = data.frame;
      this.shown = { ...shown, setup: this.setup }; // what is on the canvas
      figures.ms = figures.ms ? 0.9 * figures.ms + 0.1 * data.ms : data.ms;
      if (figures.drawn === 1) handlers.began();
    }
    if (!this.next) return;
    const wanted = this.next;
    this.next = null;
    this.draw(wanted);
  }
}
