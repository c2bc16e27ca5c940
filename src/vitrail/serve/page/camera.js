// The camera's view, or a video file, as a stream of pictures: as many as are answered while it runs.

const LONGER_SIDE = 640;

export class Camera {
  constructor(video, onPicture, onEnd) {
    this.video = video;
    this.onPicture = onPicture;
    this.onEnd = onEnd;
    this.close = null; // ends what runs
  }

  get running() {
    return this.close !== null;
  }

  // Shows the camera until it is stopped; fails when there is none or it is not allowed.
  async run() {
    if (!navigator.mediaDevices) throw new Error("The browser gives the camera to pages of https or of this computer only.");
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    stream.getVideoTracks()[0].addEventListener("ended", () => this.stop());
    this.video.srcObject = stream;
    await this.show(() => stream.getTracks().forEach((track) => track.stop()));
  }

  // Shows a video file until its end; fails when the browser cannot play it.
  async play(file) {
    this.stop();
    const url = URL.createObjectURL(file);
    this.video.src = url;
    await this.show(() => URL.revokeObjectURL(url));
  }

  async show(close) {
    this.close = close;
    try {
      await this.video.play();
      while (this.close === close && !this.video.ended) await this.onPicture(await this.capture());
    } catch (error) {
      if (this.close === close) throw error; // stopping interrupts what is played
    } finally {
      if (this.close === close) this.stop();
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
    if (!this.close) return;
    this.close();
    this.close = null;
    this.video.pause();
    this.video.srcObject = null;
    this.video.removeAttribute("src");
    this.onEnd();
  }
}
