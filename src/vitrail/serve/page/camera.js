// The camera's view as a stream of pictures, as fast as they are answered.

const LONGER_SIDE = 640;

export class Camera {
  constructor(video, onPicture, onEnd) {
    this.video = video;
    this.onPicture = onPicture;
    this.onEnd = onEnd;
    this.stream = null;
  }

  get running() {
    return this.stream !== null;
  }

  // Starts the camera; the promise ends when it is stopped, and fails when there is none or it is not allowed.
  async run() {
    if (!navigator.mediaDevices) throw new Error("The browser gives the camera to pages of https or of this computer only.");
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    this.stream = stream;
    stream.getVideoTracks()[0].addEventListener("ended", () => this.stop());
    this.video.srcObject = stream;
    try {
      await this.video.play();
      while (this.stream === stream) await this.onPicture(await this.capture());
    } finally {
      this.stop();
    }
  }

  async capture() {
    const { videoWidth, videoHeight } = this.video;
    const scale = Math.min(1, LONGER_SIDE / Math.max(videoWidth, videoHeight));
    const canvas = new OffscreenCanvas(Math.round(videoWidth * scale), Math.round(videoHeight * scale));
    canvas.getContext("2d").drawImage(this.video, 0, 0, canvas.width, canvas.height);
    return canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 });
  }

  stop() {
    if (!this.stream) return;
    for (const track of this.stream.getTracks()) track.stop();
    this.stream = null;
    this.video.srcObject = null;
    this.onEnd();
  }
}
