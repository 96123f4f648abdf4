"""An image of 200 MB as an OCI layout, and a docker-registry that it is pushed to."""
import contextlib
import hashlib
import json
import random
import subprocess
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
SERVERS = TOP / "tests" / "real" / "servers.sh"
LAYERS = (90, 60, 35, 12, 3)  # MB; as a base image, what is installed on it, and the program


def layout(folder):
    """Writes the layout. Its layers are noise, as compressed layers are."""
    noise = random.Random(1)
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    kind = "application/vnd.oci.image"
    layers = [blob(f"{kind}.layer.v1.tar+gzip", noise.randbytes(size * 1000 * 1000)) for size in LAYERS]
    config = blob(f"{kind}.config.v1+json", json.dumps({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }).encode())
    manifest = blob(f"{kind}.manifest.v1+json", json.dumps({
        "schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json", "config": config, "layers": layers}).encode())
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}', encoding="utf-8")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}), encoding="utf-8")


@contextlib.contextmanager
def image():
    """The layout's folder, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="wsrun-bench.") as scratch:
        folder = Path(scratch, "image")
        folder.mkdir()
        layout(folder)
        yield folder


@contextlib.contextmanager
def registry():
    """The address of an empty registry: nobody has seen its blobs, and so nobody mounts them from elsewhere."""
    with tempfile.TemporaryDirectory(prefix="wsrun-bench.") as scratch:
        folder = Path(scratch, "registry")
        said = subprocess.run([SERVERS, "start", "registry", folder], check=True, stdout=subprocess.PIPE, text=True)
        try:
            yield said.stdout.strip().partition("=")[2]
        finally:
            subprocess.run([SERVERS, "stop", folder], check=True, stdout=subprocess.DEVNULL)
