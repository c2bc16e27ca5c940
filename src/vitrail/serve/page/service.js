// Requests to the service that this page came from.

let key = "";

export function useKey(value) {
  key = value;
}

export class ServiceError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function call(path, options = {}) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError(0, "The service does not answer: is it still running?");
  }
  if (!answer.ok) {
    const content = await answer.json().catch(() => ({}));
    throw new ServiceError(answer.status, content.detail || `The service answers ${answer.status}.`);
  }
  return answer.json();
}

export function readModels() {
  return call("/v1/models");
}

// Returns the result of one model for a picture (a Blob): its mask, the probabilities, areas and COCO annotations.
export async function segment(picture, model, signal) {
  const form = new FormData();
  form.append("model", model.name);
  const outputs = model.probabilities ? "rle,mask,probabilities" : "rle,mask";
  form.append("outputs", outputs);
  form.append("image", picture, "picture");
  const answer = await call("/v1/segment", { method: "POST", body: form, signal });
  const { height, width } = answer;
  return {
    model,
    height,
    width,
    areas: answer.areas,
    annotations: answer.rle,
    png: fromBase64(answer.mask),
    mask: decodeMask(answer.rle, height, width),
    probabilities: model.probabilities ? await decodeGrey(fromBase64(answer.probabilities)) : null,
  };
}

function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

// Returns the class of each pixel, row by row, from COCO annotations.
export function decodeMask(annotations, height, width) {
  const mask = new Uint16Array(height * width);
  for (const { category_id: index, segmentation } of annotations) {
    let place = 0; // column by column
    let inside = false;
    for (const length of runLengths(segmentation.counts)) {
      if (inside) {
        for (let at = place; at < place + length; at += 1) mask[(at % height) * width + Math.floor(at / height)] = index;
      }
      place += length;
      inside = !inside;
    }
  }
  return mask;
}

// Returns the run lengths of COCO's compressed text: base 32, as differences from the length two places before.
export function runLengths(text) {
  const counts = [];
  for (let at = 0; at < text.length; ) {
    let number = 0;
    let shift = 0;
    let digit;
    do {
      digit = text.charCodeAt(at) - 48;
      number |= (digit & 31) << shift;
      shift += 5;
      at += 1;
    } while (digit & 32);
    if (digit & 16) number |= -1 << shift;
    counts.push(counts.length > 2 ? number + counts[counts.length - 2] : number);
  }
  return counts;
}

// Returns the values of a grey picture, 0…255; canvases keep the upper 8 of its 16 bits.
async function decodeGrey(blob) {
  const picture = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  picture.close();
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const values = new Uint8Array(data.length / 4);
  for (let at = 0; at < values.length; at += 1) values[at] = data[4 * at];
  return values;
}
