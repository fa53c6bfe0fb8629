"""Hugging Face's transformers (github.com/huggingface/transformers): ResNetModel, alone or with its
classifier.
"""

from __future__ import annotations

from pretrain.nets.formats.contract import Layout
from pretrain.nets.formats.naming import TRANSFORMERS

LAYOUTS = (
    Layout(
        name="transformers",
        title="Hugging Face's transformers",
        within=("state_dict", "model", ""),
        roots=("resnet.", ""),
        signs=(r"(resnet\.)?embedder\.embedder\.convolution\.",),
        names=(TRANSFORMERS,),
    ),
)
