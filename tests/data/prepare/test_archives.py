"""Archives that would write where they should not, or cannot be read."""

import io
import tarfile
import zipfile

import pytest

from reidtools.data.prepare.archives import unpack


def tar_of(path, member, content=b"x"):
    with tarfile.open(path, "w:gz") as file:
        member.size = len(content) if member.isreg() else 0
        file.addfile(member, io.BytesIO(content))


def zip_of(path, name, flag=0):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, "x")
    if flag:  # in the central directory, which begins with PK 1 2
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\x01\x02") + 8] |= flag
        path.write_bytes(content)


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "C:\\evil", "..\\evil"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_nothing_gets_outside_the_folder(tmp_path, kind, name):
    archive, target = tmp_path / f"evil.{kind}", tmp_path / "in" / "side"
    target.mkdir(parents=True)
    zip_of(archive, name) if kind == "zip" else tar_of(archive, tarfile.TarInfo(name))
    with pytest.raises(ValueError, match="has a member that leads out of its folder, such as"):
        unpack(archive, target)
    assert set(tmp_path.rglob("*")) == {archive, target.parent, target}


@pytest.mark.parametrize("link", ["/etc/passwd", "../../outside"])
def test_no_link_leads_out(tmp_path, link):
    member = tarfile.TarInfo("a/link")
    member.type, member.linkname = tarfile.SYMTYPE, link
    tar_of(tmp_path / "evil.tar.gz", member)
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match="leads out of its folder, such as 'a/link'"):
        unpack(tmp_path / "evil.tar.gz", tmp_path / "in")


def test_an_encrypted_archive_is_told(tmp_path):
    zip_of(tmp_path / "secret.zip", "a.jpg", flag=1)
    with pytest.raises(ValueError, match=r"secret\.zip is encrypted; unpack it with its password"):
        unpack(tmp_path / "secret.zip", tmp_path)
