"""Links in tar archives: another name of a member is honest, any other link is refused; none is followed."""

from __future__ import annotations

import io
import tarfile

import pytest
from tests.untrusted_files.archive_cases import regular, tar
from tests.untrusted_files.reading import BytesFile

from filterzoo.errors import Reason, Refused
from filterzoo.jail.unpacking import find_model
from filterzoo_plugins.archives.tar import Tar

LONG = "folder/" * 20


def names(data: bytes) -> list[str]:
    return [member.name for member in Tar().members(BytesFile(data))]


@pytest.mark.parametrize("is_pax", [True, False])
@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("m/latest.pth", tarfile.SYMTYPE, "model.pth"),
        ("m/latest.pth", tarfile.SYMTYPE, "./model.pth"),
        ("latest.pth", tarfile.SYMTYPE, "m/model.pth"),
        ("other/latest.pth", tarfile.SYMTYPE, "../m/model.pth"),
        ("latest.pth", tarfile.LNKTYPE, "m/model.pth"),
        ("latest", tarfile.SYMTYPE, "m"),
        (f"{LONG}latest.pth", tarfile.SYMTYPE, f"{'../' * 20}m/model.pth"),
    ],
)
def test_a_link_to_a_member_is_no_member_of_its_own(name, kind, target, is_pax):
    link = (name, b"", kind, target)
    for members in ([regular("m/model.pth"), link], [link, regular("m/model.pth")]):
        assert names(tar(*members, pax=is_pax)) == ["m/model.pth"]


def test_a_link_is_another_name_of_its_member():
    links = [("latest.pth", b"", tarfile.SYMTYPE, "m/best.pth"), ("m/best.pth", b"", tarfile.SYMTYPE, "./model.pth")]
    links.append(("loop.pth", b"", tarfile.SYMTYPE, "loop.pth"))
    file = BytesFile(tar(*links, regular("m/model.pth"), regular("m/other.pth")))
    found = find_model(file, Tar(), [], "./latest.pth")
    assert found.name == "m/model.pth"
    with pytest.raises(Refused, match="0 members of that name"):
        find_model(file, Tar(), [], "loop.pth")


@pytest.mark.parametrize("is_pax", [True, False])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc/passwd", "../../m/model.pth", "../etc/passwd", "m/other.pth", "x" * 200, ""])
def test_any_other_link_is_unsafe(target, kind, is_pax):
    with pytest.raises(Refused) as caught:
        names(tar(regular("m/model.pth"), ("m/latest.pth", b"", kind, target), pax=is_pax))
    assert caught.value.reason is Reason.UNSAFE


def test_what_tar_writes_of_a_folder_with_links_is_read(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.pth").write_bytes(b"model")
    (tmp_path / "m" / "latest.pth").symlink_to("model.pth")
    (tmp_path / "m" / "same.pth").hardlink_to(tmp_path / "m" / "model.pth")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(tmp_path / "m", "m")
    assert len(names(stream.getvalue())) == 1
