// The page: pictures come in, results of one or two models are shown.

import { Camera } from "/page/camera.js";
import { droppedFiles, isVideo, shownFiles } from "/page/files.js";
import { ServiceError, readModels, segment, useKey } from "/page/service.js";
import { View, disagreement } from "/page/view.js";

const at = (id) => document.getElementById(id);
const state = {
  models: [],
  pictures: [], // {name, blob, url}
  current: null,
  shown: null, // {name, bitmap, results: [result, …], difference}
  hidden: new Set(), // names of classes that are switched off
  pixel: null,
  playing: null, // the video file that runs
  running: null, // AbortController of the requests in work
};
const views = [new View(at("view"), nameThePixel), new View(at("other-view"), nameThePixel)];
const camera = new Camera(at("video"), showLive, cameraEnded);

function say(text, isError = false) {
  at("status").textContent = text;
  at("status").classList.toggle("error", isError);
}

function complain(error) {
  if (error.name === "AbortError") return;
  say(error.message, true);
  if (error instanceof ServiceError && error.status === 401) at("key-form").hidden = false;
}

async function start() {
  try {
    state.models = await readModels();
  } catch (error) {
    complain(error);
    return;
  }
  at("key-form").hidden = true;
  say("");
  at("model").replaceChildren(...state.models.map(({ name }) => new Option(name)));
  at("other").replaceChildren(new Option("nothing", ""), ...state.models.map(({ name }) => new Option(name)));
}

function chosenModels() {
  const names = [at("model").value, at("other").value].filter((name) => name);
  return names.map((name) => state.models.find((model) => model.name === name));
}

// --- pictures ---

function addPictures(files) {
  const added = [...files].map((blob) => ({ name: blob.name, blob, url: URL.createObjectURL(blob) }));
  if (!added.length) {
    say("There is no picture or video among these files.", true);
    return;
  }
  camera.stop();
  state.pictures.push(...added);
  for (const picture of added) at("pictures").append(thumbnail(picture));
  open(added[0]);
}

function thumbnail(picture) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.title = picture.name;
  button.setAttribute("aria-label", picture.name);
  const image = document.createElement(isVideo(picture.blob) ? "video" : "img");
  if (isVideo(picture.blob)) image.muted = true;
  else image.alt = "";
  image.src = picture.url;
  button.append(image);
  button.addEventListener("click", () => open(picture));
  picture.button = button;
  item.append(button);
  return item;
}

async function open(picture) {
  camera.stop();
  state.current = picture;
  for (const each of state.pictures) each.button.setAttribute("aria-current", String(each === picture));
  if (isVideo(picture.blob)) {
    await play(picture);
    return;
  }
  say(`Segmenting ${picture.name}…`);
  const started = performance.now();
  try {
    if (await compute(picture.blob, picture.name)) {
      const { width, height } = state.shown.results[0];
      say(`${picture.name}: ${width} × ${height}, ${Math.round(performance.now() - started)} ms`);
    }
  } catch (error) {
    complain(error);
  }
}

// Computes and shows a picture with the chosen models; returns false when something newer has taken its place.
async function compute(blob, name) {
  state.running?.abort();
  const running = new AbortController();
  state.running = running;
  const models = chosenModels();
  if (!models.length) throw new Error("There is no model: is the service still running?");
  const results = await Promise.all(models.map((model) => segment(blob, model, running.signal)));
  const bitmap = await createImageBitmap(blob);
  if (state.running !== running) {
    bitmap.close();
    return false;
  }
  state.shown?.bitmap.close();
  const difference = results.length > 1 ? disagreement(results[0], results[1]) : null;
  state.shown = { name, bitmap, results, difference };
  state.pixel = null;
  showResult();
  return true;
}

// --- results ---

function showResult() {
  const { results, difference } = state.shown;
  const two = results.length > 1;
  at("empty").hidden = true;
  at("canvases").hidden = false;
  at("classes").hidden = false;
  at("other-figure").hidden = !two;
  at("other-head").hidden = !two;
  at("difference-label").hidden = !two;
  at("view-name").textContent = results[0].model.name;
  at("other-name").textContent = two ? `${results[1].model.name}: ${percent(difference.share)} disagree` : "";
  at("pixel").textContent = "";
  listAreas();
  draw();
}

function draw() {
  if (!state.shown) return;
  const { bitmap, results, difference } = state.shown;
  const opacity = at("opacity").value / 100;
  const different = at("difference").checked && difference ? difference.different : null;
  results.forEach((result, place) => {
    const { classes } = result.model;
    const hidden = new Set(classes.flatMap((name, index) => (state.hidden.has(name) ? [index] : [])));
    views[place].draw(bitmap, result, opacity, hidden, place === 1 ? different : null);
  });
}

function percent(share) {
  return share > 0 && share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
}

function listAreas() {
  const { results } = state.shown;
  const shares = results.map(({ areas }) => new Map(areas.map(({ name, share }) => [name, share])));
  const names = [...new Set(shares.flatMap((each) => [...each.keys()]))];
  names.sort((one, two) => (shares[0].get(two) ?? 0) - (shares[0].get(one) ?? 0));
  at("areas").replaceChildren(...names.map((name) => areaRow(name, shares)));
}

function areaRow(name, shares) {
  const row = document.createElement("tr");
  const cell = document.createElement("td");
  const label = document.createElement("label");
  const check = document.createElement("input");
  check.type = "checkbox";
  check.checked = !state.hidden.has(name);
  check.addEventListener("change", () => {
    if (check.checked) state.hidden.delete(name);
    else state.hidden.add(name);
    draw();
  });
  label.append(check, swatch(name), name);
  cell.append(label);
  row.append(cell, ...shares.map((each) => numberCell(each.get(name) ?? 0)));
  return row;
}

// The colour is drawn, not styled: the page's policy allows no style outside its style sheet.
function swatch(name) {
  const model = state.shown.results.map((result) => result.model).find(({ classes }) => classes.includes(name));
  const [red, green, blue] = model.palette[model.classes.indexOf(name)];
  const canvas = document.createElement("canvas");
  canvas.className = "swatch";
  canvas.width = canvas.height = 8;
  const context = canvas.getContext("2d");
  context.fillStyle = `rgb(${red} ${green} ${blue})`;
  context.fillRect(0, 0, 8, 8);
  return canvas;
}

function numberCell(share) {
  const cell = document.createElement("td");
  cell.className = "number";
  cell.textContent = percent(share);
  return cell;
}

function switchAll(on) {
  for (const check of at("areas").querySelectorAll("input")) {
    if (check.checked !== on) check.click();
  }
}

function nameThePixel(x, y) {
  if (!state.shown) return;
  const named = state.shown.results.map(({ model, mask, probabilities, width }) => {
    const place = y * width + x;
    const name = model.classes[mask[place]];
    return probabilities ? `${name} (${Math.round((100 * probabilities[place]) / 255)} %)` : name;
  });
  at("pixel").textContent = `Pixel ${x}, ${y}: ${named.join(" · ")}`;
}

// --- downloads ---

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function stemOf(name) {
  return name.replace(/\.[^.]*$/, "") || "picture";
}

function stem() {
  return stemOf(state.shown.name);
}

function saveCoco() {
  const { name, results } = state.shown;
  const [{ model, width, height, annotations }] = results;
  const content = {
    images: [{ id: 1, file_name: name, width, height }],
    categories: model.classes.map((each, id) => ({ id, name: each })),
    annotations: annotations.map(({ category, ...rest }, place) => ({ id: place + 1, image_id: 1, ...rest })),
  };
  save(new Blob([JSON.stringify(content)], { type: "application/json" }), `${stem()}_coco.json`);
}

// --- camera and videos ---

async function showLive(blob) {
  const started = performance.now();
  const name = state.playing ? state.playing.name : "Camera";
  await compute(blob, state.playing ? `${stemOf(name)}.jpg` : "camera.jpg");
  if (camera.running) say(`${name}: ${(1000 / (performance.now() - started)).toFixed(1)} pictures per second`);
}

async function play(picture) {
  state.playing = picture;
  try {
    await camera.play(picture.blob);
    if (state.playing === picture) say(`${picture.name}: its last picture`);
  } catch (error) {
    complain(error.name === "NotSupportedError" ? new Error(`The browser cannot play ${picture.name}.`) : error);
  }
}

function cameraEnded() {
  at("camera").setAttribute("aria-pressed", "false");
  say("");
}

async function switchCamera() {
  const ran = camera.running && !state.playing;
  camera.stop();
  if (ran) return;
  at("camera").setAttribute("aria-pressed", "true");
  state.playing = null;
  say("Waiting for the camera…");
  try {
    await camera.run();
  } catch (error) {
    at("camera").setAttribute("aria-pressed", "false");
    complain(error);
  }
}

// --- controls ---

function listen() {
  at("choose").addEventListener("click", () => at("files").click());
  at("files").addEventListener("change", () => {
    addPictures(at("files").files);
    at("files").value = "";
  });
  at("choose-folder").addEventListener("click", () => at("folder").click());
  at("folder").addEventListener("change", () => {
    addPictures(shownFiles(at("folder").files));
    at("folder").value = "";
  });
  at("camera").addEventListener("click", switchCamera);
  for (const id of ["model", "other"]) {
    at(id).addEventListener("change", () => {
      if (!camera.running && state.current) open(state.current);
    });
  }
  for (const id of ["opacity", "difference"]) at(id).addEventListener("input", draw);
  at("all").addEventListener("click", () => switchAll(true));
  at("none").addEventListener("click", () => switchAll(false));
  at("save-mask").addEventListener("click", () => save(state.shown.results[0].png, `${stem()}_mask.png`));
  at("save-coco").addEventListener("click", saveCoco);
  at("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(at("key").value);
    start();
  });
  listenToDrops();
}

function listenToDrops() {
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    droppedFiles(event.dataTransfer).then(addPictures, complain);
  });
}

listen();
start();
