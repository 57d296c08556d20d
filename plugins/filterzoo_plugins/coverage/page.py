"""The text around the rows: how they are counted, why counts differ, which documents are copies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from filterzoo_plugins.coverage.documents import Copy

HEAD = """\
# Zoos: what is listed, and what is known of it

Made by `make zoos` out of the packages and documents that the sources pin. `upstream` is counted without the sources,
as the note says, at the revision in its column: a package of the index, or the first digits of a commit. `listed` are
checkpoints, `licence` those of them with a licence that is recognised; `left out` are entries of the ledger by reason.

| zoo | revision | upstream | counted as | listed | licence | task | data set | accuracy | left out |
|---|---|---:|---|---:|---:|---:|---:|---:|---|
"""
NOTES = """
Why some are left out, and why some counts differ from others that are published:

* `duplicate`: the zoo's second name for a file; `removed`: the address is empty, or the zoo says that the file is gone;
  `unsupported`: no file of a format that is read.
* timm lists 17 names twice. RobustBench's 206 entries have 237 files, since an ensemble is several.
* TotalSegmentator names 70 data sets of weights: 20 have no free address, 50 do.
* 13 of the addresses in TorchXRayVision are torchvision's weights, which are not listed again; one of its own is put
  together by its code, and is no address in it.
* nnU-Net 1 has 25 tasks in 33 zip archives, which hold several networks each. They are listed out of the archives'
  directories on Zenodo, and where Zenodo cannot be asked each archive is one `fetch_failed`.
* mmpretrain's metafiles describe 548 models; 527 of them state weights, at 522 different addresses.
* Open Model Zoo has 264 `model.yml` and 12 `composite-model.yml`, which only name parts: 276. A model that states the
  address of a licence that cannot be had is `fetch_failed`: it is not published as unknown, the next run asks again.
* Keras states no licence for its weights. Its tables list 43 files; MobileNet, MobileNetV2 and InceptionResNetV2 are in
  no table, since the code puts the names of their files together.
* Addresses of PaddleDetection that are made of the names in its `MODEL_ZOO` are not counted as upstream.
* BioImage.IO's repository described 77 networks in April 2024. Its published list at this commit has 44: 23 of the
  other 33 are blocked, 10 left out.
* ONNX Model Zoo, not in the table: its git home (onnx/models at b1eeaa1ac722) has 2,325 `.onnx` files with 2,245 names,
  and the Hub a repository for each name. One export a network, the newest opset, is 976 by file name, as `onnx_zoo`
  counts; 1,078 by path, or 1,003 without the folders `skip/`, next to the 1,004 that were counted before.
"""
TAIL = """
Not counted here, since only a live host lists them: `hf_hub`, `onnx_zoo`, the repositories of `medical` on the Hub and
on Zenodo, `augreg`. `local`, `urls`, `pypi` and `cnn_filter_db` list what a manifest names.
"""
OFFLINE = """
Made with `--offline`: what needs a host besides the package index, and was neither in the cache nor among the copies,
is `fetch_failed` here.
"""
COPIES = """
## Copies

The texts at these addresses were not asked for but taken from copies, at these revisions:

| address | revision |
|---|---|
"""


def page(rows: Iterable[str], copies: Mapping[str, Copy], *, offline: bool) -> str:
    """The whole page; copies: the documents that were read from copies, by address."""
    table = "".join(f"{row}\n" for row in rows)
    listed = "".join(f"| {address} | {copy.revision} |\n" for address, copy in sorted(copies.items()))
    return HEAD + table + NOTES + TAIL + (OFFLINE if offline else "") + (COPIES + listed if listed else "")
