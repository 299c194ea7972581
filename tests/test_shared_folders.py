"""Run directories that machines share where the kernel's locks do not reach. What NFS does itself is not tested."""

import errno
import fcntl
import json
import os

import pytest

import editbench as eb
from editbench import claims, heartbeats, shared_folders
from editbench.claims import Claim
from editbench.durable import StorageError
from editbench.shared_folders import SharedFolder, locks_stay_here
from editbench.store import RunStore
from editbench.types import EditbenchError

SMALL = {"suite": "shapes@1:size=64", "limit": 2, "metrics": ["mae:region=keep"]}
MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /nfs rw,relatime - nfs server:/home rw,vers=3,nolock,local_lock=all,addr=10.0.0.1
31 22 0:41 / /nfs/locks rw,relatime - nfs4 server:/data rw,vers=4.2,local_lock=none
32 22 0:42 / /lustre rw,relatime - lustre 10.0.0.1@tcp:/scratch rw,flock
33 22 0:43 / /lustre\\040local rw,relatime - lustre 10.0.0.1@tcp:/scratch rw,localflock
34 22 0:44 / /bucket rw,nosuid - fuse.s3fs s3fs rw,user_id=0
35 22 0:45 / /over rw - nfs server:/a rw,nolock
36 22 0:46 / /over rw - ext4 /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/data/me", None),
        ("/nfs/runs", "nfs with local_lock=all"),
        ("/nfsother", None),
        ("/nfs/locks/runs", None),
        ("/lustre/runs", None),
        ("/lustre local/runs", "lustre with localflock"),
        ("/bucket", "fuse.s3fs"),
        ("/over/runs", None),
    ],
)
def test_mounts_say_whether_locks_reach_other_machines(folder, expected, monkeypatch):
    monkeypatch.setattr(shared_folders, "existing", lambda path: path)  # there are no such mounts here
    assert locks_stay_here(claims.Path(folder), MOUNTS) == expected


def test_this_folder_is_one_that_is_known(tmp_path):
    assert locks_stay_here(tmp_path) is None


@pytest.fixture(params=["no locks", "locks of this machine"])
def shared(request, monkeypatch):
    """A file system on which the locks of other machines are not seen."""
    if request.param == "no locks":

        def flock(file, operation):
            raise OSError(errno.ENOSYS, "Function not implemented")

        monkeypatch.setattr(fcntl, "flock", flock)
    else:
        monkeypatch.setattr(claims, "locks_stay_here", lambda folder: "nfs with nolock")


def other_machine(monkeypatch):
    """Be another machine: it sees no lock of this one."""
    monkeypatch.setattr(heartbeats, "_machine", lambda: "another")
    monkeypatch.setattr(claims, "has_locks", lambda path: False)


def test_a_second_machine_is_refused_with_the_owner_and_other_shards_are_not(shared, tmp_path, monkeypatch):
    first = RunStore(tmp_path / "run")
    first.open_journal("1-of-2")
    other_machine(monkeypatch)
    with pytest.raises(EditbenchError, match=f"is being written by process {os.getpid()} on .* heard of 0 seconds ago"):
        RunStore(tmp_path / "run").open_journal("1-of-2")
    second = RunStore(tmp_path / "run")
    second.open_journal("2-of-2")
    second.close()
    first.close()
    third = RunStore(tmp_path / "run")
    third.open_journal("1-of-2")
    third.close()
    assert third.notices == []
    assert not [path for path in (tmp_path / "run" / "claims").rglob("*") if path.is_file()]


def test_a_lapsed_claim_is_taken_over_and_its_owner_stops(shared, tmp_path, monkeypatch):
    sleeper = RunStore(tmp_path / "run")
    sleeper.open_journal("1-of-1")
    other_machine(monkeypatch)
    monkeypatch.setattr(heartbeats, "LAPSE_SECONDS", -1.0)
    other = RunStore(tmp_path / "run")
    other.open_journal("1-of-1")
    assert "was last written by process" in other.notices[0]
    other.append([{"type": "records", "sha256": "b" * 64}])
    with pytest.raises(StorageError, match="another one has taken its place"):
        sleeper.append([{"type": "records", "sha256": "c" * 64}])
    sleeper.close()
    other.close()
    journal = (tmp_path / "run" / "journal" / "1-of-1.jsonl").read_text()
    assert "b" * 64 in journal and "c" * 64 not in journal


def test_a_claim_that_could_not_be_completed_is_in_nobodys_way(shared, tmp_path, monkeypatch):
    names = SharedFolder.names

    def failing(self, below=""):
        if list((self._path / "claims" / "1-of-1").glob("*")):
            raise StorageError("cannot list claims: Stale file handle")
        return names(self, below)

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="Stale file handle"):
        patch.setattr(SharedFolder, "names", failing)
        RunStore(tmp_path / "run").open_journal("1-of-1")
    assert not [path for path in (tmp_path / "run" / "claims").rglob("*") if path.is_file()]
    other_machine(monkeypatch)
    other = RunStore(tmp_path / "run")
    other.open_journal("1-of-1")
    other.close()


def test_a_run_there_is_the_run_that_any_folder_has(shared, tmp_path):
    run = eb.run("recolor", output_dir=str(tmp_path / "run"), **SMALL)
    assert len(run.records().records) == 2
    eb.run("recolor", output_dir=str(tmp_path / "run"), **SMALL)
    lines = (tmp_path / "run" / "journal" / "1-of-1.jsonl").read_text().splitlines()
    assert sum(json.loads(line)["event"]["type"] == "edit" for line in lines) == 2


def test_a_file_system_without_locks_and_exclusive_creation_is_refused(shared, tmp_path, monkeypatch):
    def link(*arguments):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StorageError, match=r"exclusive creation, by a hard link\): Operation not permitted"):
        Claim(tmp_path / "run" / "journal", "1-of-1")
    assert not list((tmp_path / "run" / "journal").glob("*.owner"))


def test_a_file_is_created_once(tmp_path):
    folder = SharedFolder(tmp_path)
    assert folder.create("claims/x/1", b"one")
    assert folder.create("claims/x/1", b"one")  # an answer that was lost, and asked for again
    assert not folder.create("claims/x/1", b"other")
    assert folder.get("claims/x/1") == b"one"
    assert set(folder.names("claims/x")) == {"claims/x/1"}
    assert [path.name for path in (tmp_path / "claims" / "x").iterdir()] == ["1"]
