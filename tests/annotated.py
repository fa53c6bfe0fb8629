"""A picture of noise, and COCO instances that annotate it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (40, 30)  # width, height


def picture(path: Path, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def instances(root: Path, changes: list[dict[str, Any]], **more: Any) -> tuple[Path, dict[str, Any]]:
    plain = {"bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0, "segmentation": [[1, 1, 10, 1, 10, 10]]}
    picture(root / "train2017" / "1.jpg")
    annotations = [
        {
            k: v
            for k, v in {**plain, "id": i, "image_id": 1, "category_id": 7, **change}.items()
            if v is not None
        }
        for i, change in enumerate(changes)
    ]
    images = [{"id": 1, "file_name": "1.jpg", "width": SIZE[0], "height": SIZE[1]}]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 7, "name": "cat"}], **more}
    path = root / "instances.json"
    path.write_text(json.dumps(content))
    return path, content
