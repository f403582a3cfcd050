// Pictures that the person gives: dropped, pasted or chosen.

/** Longer files are made smaller before they are sent, if the browser can read them. */
const LONG_BYTES = 1 << 20;
/** What cannot be made smaller may be so long. */
const LONGEST_BYTES = 32 << 20;
/** Many times what a model looks at. */
const SIDE = 1024;
/** Endings of pictures that browsers do not know for pictures. */
const ENDINGS = /\.(heic|heif|hif|avif|jxl|cr2|cr3|nef|arw|dng|raf|tiff?)$/i;

/** The pictures among what was dropped or pasted. */
export function picturesIn(transfer) {
  return [...(transfer?.files ?? [])].filter((file) => file.type.startsWith("image/") || ENDINGS.test(file.name));
}

/** A file as a question holds it: base64, and an address under which this page can show it. */
export async function take(file) {
  const smaller = file.size > LONG_BYTES ? await shrink(file) : null;
  const sent = smaller ?? file;
  if (sent.size > LONGEST_BYTES) throw new Error(`${file.name} is longer than ${LONGEST_BYTES >> 20} MiB`);
  return { name: file.name || "a picture", address: URL.createObjectURL(sent), base64: await base64(sent) };
}

/** A smaller JPEG of it, or nothing if the browser cannot read it. */
async function shrink(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return null;
  }
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
}

function base64(file) {
  return new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => fail(reader.error);
    reader.readAsDataURL(file);
  });
}
