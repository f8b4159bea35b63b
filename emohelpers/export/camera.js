(async () => {
  const stream = await navigator.mediaDevices.getUserMedia({video: true});
  const video = document.createElement("video"), button = document.createElement("button");
  button.textContent = "Take the picture";
  document.body.append(video, button);
  video.srcObject = stream;
  await video.play();
  await new Promise((done) => { button.onclick = done; });
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  stream.getTracks().forEach((track) => track.stop());
  video.remove(); button.remove();
  return canvas.toDataURL("image/png");
})()
