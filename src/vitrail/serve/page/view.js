// A picture under the colours of its classes, drawn on a canvas of the picture's own size.

export class View {
  constructor(canvas, onPixel) {
    this.canvas = canvas;
    this.onPixel = onPixel;
    this.at = { x: 0, y: 0 };
    canvas.addEventListener("click", (event) => {
      const box = canvas.getBoundingClientRect();
      this.show(
        Math.floor(((event.clientX - box.left) / box.width) * canvas.width),
        Math.floor(((event.clientY - box.top) / box.height) * canvas.height),
      );
    });
    canvas.addEventListener("keydown", (event) => this.move(event));
  }

  move(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const far = Math.max(1, Math.round(Math.max(this.canvas.width, this.canvas.height) / 40));
    const length = event.shiftKey ? 1 : far;
    const [right, down] = steps[event.key];
    this.show(this.at.x + right * length, this.at.y + down * length);
  }

  show(x, y) {
    this.at = {
      x: Math.min(Math.max(x, 0), this.canvas.width - 1),
      y: Math.min(Math.max(y, 0), this.canvas.height - 1),
    };
    this.onPixel(this.at.x, this.at.y);
  }

  // Draws a picture (an ImageBitmap) under the classes of a result. `different`, if given, marks pixels in red.
  draw(picture, result, opacity, hidden, different) {
    const { width, height } = result;
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    const context = this.canvas.getContext("2d");
    context.globalAlpha = 1;
    context.drawImage(picture, 0, 0, width, height);
    const colours = new ImageData(width, height);
    paint(new Uint32Array(colours.data.buffer), result, hidden, different);
    const layer = new OffscreenCanvas(width, height);
    layer.getContext("2d").putImageData(colours, 0, 0);
    context.globalAlpha = opacity;
    context.drawImage(layer, 0, 0);
  }
}

function paint(pixels, { mask, model }, hidden, different) {
  const opaque = (red, green, blue) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  const table = model.palette.map(([red, green, blue], index) => (hidden.has(index) ? 0 : opaque(red, green, blue)));
  const marked = opaque(230, 0, 40);
  for (let at = 0; at < pixels.length; at += 1) {
    if (different) pixels[at] = different[at] ? marked : 0;
    else pixels[at] = table[mask[at]] || 0;
  }
}

// Returns where two results name different classes, and the share of such pixels.
export function disagreement(first, second) {
  const names = second.model.classes.map((name) => first.model.classes.indexOf(name));
  const different = new Uint8Array(first.mask.length);
  let count = 0;
  for (let at = 0; at < different.length; at += 1) {
    if (first.mask[at] !== names[second.mask[at]]) {
      different[at] = 1;
      count += 1;
    }
  }
  return { different, share: count / different.length };
}
