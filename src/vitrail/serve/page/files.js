// Files that are dropped or chosen, with those in folders.

export function isVideo(file) {
  return file.type.startsWith("video/");
}

function isShown(file) {
  return file.type.startsWith("image/") || isVideo(file);
}

// Returns the files of a folder that was chosen which are pictures or videos, by their names.
export function shownFiles(files) {
  return [...files].filter(isShown).sort((one, two) => one.name.localeCompare(two.name, undefined, { numeric: true }));
}

// Returns the files that are dropped, and the pictures and videos in folders that are dropped.
export async function droppedFiles(transfer) {
  // Both have to be read before anything is waited for: afterwards the browser has emptied them.
  const folders = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry?.isDirectory);
  const names = new Set(folders.map(({ name }) => name));
  const alone = [...transfer.files].filter((file) => !(names.has(file.name) && !file.type));
  const inside = await Promise.all(folders.map(filesIn));
  return [...alone, ...shownFiles(inside.flat())];
}

async function filesIn(folder) {
  const reader = folder.createReader();
  const entries = [];
  for (;;) {
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // at most 100 at a time
    if (!part.length) break;
    entries.push(...part);
  }
  const files = entries.map((entry) =>
    entry.isDirectory ? filesIn(entry) : new Promise((resolve, reject) => entry.file(resolve, reject)),
  );
  return (await Promise.all(files)).flat();
}
