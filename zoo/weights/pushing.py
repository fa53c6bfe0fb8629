"""A published folder on Hugging Face, by its own client, which is an extra."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from pretrain.base.faults import Fault, printable


def ready(repository: str) -> None:
    """Raises Fault where a push cannot begin: an odd name, no huggingface_hub, no token."""
    if not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", repository, re.ASCII):
        raise Fault("bad-config", f"--hub {repository!r}: expected ORG/NAME")
    try:
        client = importlib.import_module("huggingface_hub")
    except ImportError:
        said = "--hub needs the package huggingface_hub; install it with `pip install 'cluster-zoo[hub]'`"
        raise Fault("dependency-missing", said) from None
    if not client.get_token():
        raise Fault("bad-config", "--hub needs a token that can write: set HF_TOKEN, or run `hf auth login`")


def push(folder: Path, repository: str) -> str:
    """Uploads all files in one commit and returns its address. Raises Fault with the hub's words."""
    try:
        api = importlib.import_module("huggingface_hub").HfApi()
        api.create_repo(repository, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message=f"Publish {repository}",
            delete_patterns="*",
        )
    except Exception as error:  # of its client there are dozens of kinds, from three packages
        said = printable(" ".join(str(error).split()), 300)
        kept = f"the folder {folder} is complete; run the same command again"
        raise Fault("upstream", f"pushing to {repository} failed: {said}; {kept}") from error
    return str(getattr(done, "commit_url", done))
