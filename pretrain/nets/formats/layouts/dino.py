"""DINO (github.com/facebookresearch/dino) and others that keep a student and its teacher: the teacher is
evaluated.
"""

from __future__ import annotations

from pretrain.nets.formats.contract import Layout
from pretrain.nets.formats.naming import SEQUENTIAL, TORCHVISION

LAYOUTS = (
    Layout(
        name="dino",
        title="DINO",
        within=("teacher",),
        roots=("backbone.",),
        signs=(r"backbone\.", r"head\."),
        outer=("student", "teacher"),
        teacher=True,
    ),
    Layout(
        name="teacher",
        title="a teacher, alone or beside its student",
        within=("teacher", "teacher_state_dict", "ema", "model_ema", "ema_state_dict"),
        roots=("backbone.", "encoder.", "module.", ""),
        teacher=True,
    ),
    Layout(
        name="teacher-prefix",
        title="a student and its teacher in one dict",
        within=("state_dict", "model", ""),
        roots=("teacher.backbone.", "teacher.encoder.", "teacher_backbone.", "teacher."),
        signs=(r"teacher[._]",),
        names=(TORCHVISION, SEQUENTIAL),
        teacher=True,
    ),
)
