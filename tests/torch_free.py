"""python torch_free.py MODEL.onnx PICTURES OUT.npy: probabilities by NumPy, OpenCV and onnxruntime alone."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

net = onnxruntime.InferenceSession(sys.argv[1])
facts = {key: json.loads(value) for key, value in net.get_modelmeta().custom_metadata_map.items()}
how, found = facts["preprocess"], []
large, size = round(how["img_size"] * how["zoom"]), how["img_size"]
enlarge = cv2.INTER_CUBIC if how["interpolation"] == "bicubic" else cv2.INTER_LINEAR
for path in sorted(Path(sys.argv[2]).iterdir()):
    x = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    cut = min(x.shape[:2])
    top, left = (x.shape[0] - cut) // 2, (x.shape[1] - cut) // 2
    x = x[top : top + cut, left : left + cut]
    for side, kind in ((how["side"], cv2.INTER_CUBIC), (large, enlarge)):
        if side != len(x):
            x = cv2.resize(x, (side, side), interpolation=cv2.INTER_AREA if side < len(x) else kind)
    low = (large - size) // 2
    x = (x[low : low + size, low : low + size] / 255 - how["mean"]) / how["std"]
    z = net.run(None, {"input": np.float32(x.transpose(2, 0, 1)[None])})[0][0] / facts.get("temperature", 1)
    found.append(np.exp(z - z.max()) / np.exp(z - z.max()).sum())
np.save(sys.argv[3], np.array(found))
