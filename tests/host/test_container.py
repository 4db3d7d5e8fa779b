"""A server that lives in a container, whose root is an overlay: what it shows of that root's /usr to machines.

The kernel stacks two overlays, so none lies between a machine's /usr and the container's: what is private is looked for.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from haar import new_account
from machine import Machine
from machines import start_with, usr_is_an_overlay

pytestmark = [pytest.mark.skipif(os.getuid() != 0, reason="native machines: needs root"),
              pytest.mark.skipif(usr_is_an_overlay(), reason="a container in a container: two overlays already")]

# As an engine starts one, but for the namespaces that are not the file system's.
ENTER = """set -e
lid=$1 volume=$2; shift 2
mount -t overlay overlay -o lowerdir=/,upperdir=$lid/upper,workdir=$lid/work $lid/root
for at in proc sys dev run tmp $volume; do mkdir -p $lid/root/$at; mount --rbind /$at $lid/root/$at; done
cd $lid/root
pivot_root . mnt
umount -l /mnt
exec "$@"
"""


@pytest.fixture(scope="module")
def lid():
    """What lies over the host's root, on another file system: an overlay's files bear device numbers of their layers then."""
    lid = pathlib.Path(tempfile.mkdtemp(prefix="haar-test-", dir="/dev/shm"))
    for name in ("work", "root", "upper/var/lib/haar"):
        (lid / name).mkdir(parents=True)
    for folder in ("upper", "upper/var", "upper/var/lib"):
        (lid / folder).chmod(0o755)
    os.setxattr(lid / "upper/var/lib/haar", "trusted.overlay.opaque", b"y")  # what other servers have is not this one's
    yield lid
    shutil.rmtree(lid)


@pytest.fixture(scope="module")
def usr(lid):
    """A folder of the container's /usr and its name in it: files that are everybody's and such that are not."""
    made = [pathlib.Path(tempfile.mkdtemp(prefix="haar-test-", dir=at)) for at in ("/usr/lib", "/usr/local")]
    for folder in made:
        folder.chmod(0o755)
        (folder / "closed").mkdir(mode=0o700)
        (folder / "closed" / "file").write_text("secret\n")
        (folder / "open").write_text("everybody\n")
        (folder / "private").write_text("secret\n")
        (folder / "private").chmod(0o600)
    yield made
    for folder in made:
        shutil.rmtree(folder)


@pytest.fixture(params=[("false", ""), ("true", ""), ("true", "var/lib/haar")], ids=["without /usr/local", "with /usr/local", "with a volume"])
def machine(request, binary, lid, usr):
    local, volume = request.param
    under = ["unshare", "-m", "--propagation", "private", "sh", "-c", ENTER, "sh", lid, volume]
    os.makedirs("/var/lib/haar", exist_ok=True)
    if subprocess.run([*map(str, under), "true"], capture_output=True).returncode:
        pytest.skip("no overlay can be laid over this host's root")
    with start_with(binary, "native", env={"HAAR_EC2_IMAGE": "host", "HAAR_HOST_IMAGE_LOCAL": local}, under=map(str, under)) as server:
        machine = Machine.launch(server, server.client("ec2", account=new_account()))
        machine.reach("running", 60)
        machine.local, machine.lasts = local == "true", bool(volume)
        yield machine
        machine.terminate()
        owner = machine.owner
    assert not os.path.exists(f"/run/haar/{owner}")


def test_a_machine_boots_the_containers_usr_and_sees_nothing_private_of_it(machine, usr):
    lacks = [lack["feature"] for lack in json.loads(machine.server.get("/_haar/health")[1])["lacks"]]
    assert ("lasting-disks" in lacks) != machine.lasts
    lib, local = usr
    assert machine.run(f"cat {lib}/*; ls {lib}; cat {lib}/closed/file; true") == "everybody\nopen"
    assert machine.run(f"cat {local}/*; ls {local}; cat {local}/closed/file; true") == ("everybody\nopen" if machine.local else "")
    assert machine.run("ls -d /usr/local/bin; echo mine > /usr/local/bin/mine; cat /usr/local/bin/mine") == "/usr/local/bin\nmine"
    assert machine.run("find /usr -xdev -type f ! -perm -004 | head") == ""
