"""One native machine as its host sees it: its processes, links, folders, and commands run inside."""

import glob
import json
import os
import pathlib
import re
import subprocess
import time

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"


def an_image():
    return re.search(r"ami-[0-9a-f]{17}", (MODELS / "images-fixed.json").read_text())[0]


def owner_of(server):
    return json.loads(server.get("/_haar/health")[1])["owner"]


def until(check, what, seconds=20):
    """Looks again until check() is true, which it returns."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(0.01)


def stat_of(pid):
    """(name, parent, start time), or None when there is no such process."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    name, rest = text[text.index("(") + 1:].rsplit(")", 1)
    words = rest.split()
    return None if words[0] in "ZX" else (name, int(words[1]), int(words[19]))


class Machine:
    """An instance of `ec2`, a client of `server`."""

    def __init__(self, server, ec2, ident):
        self.server, self.ec2, self.id = server, ec2, ident
        self.owner = owner_of(server)

    @classmethod
    def launch(cls, server, ec2, **arguments):
        arguments = {"ImageId": an_image(), "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1} | arguments
        machine = cls(server, ec2, ec2.run_instances(**arguments)["Instances"][0]["InstanceId"])
        return machine

    # As the API says

    def shown(self):
        return self.ec2.describe_instances(InstanceIds=[self.id])["Reservations"][0]["Instances"][0]

    def state(self):
        return self.shown()["State"]["Name"]

    def reach(self, state, seconds=20):
        until(lambda: self.state() == state, lambda: f"{self.id} {state}: {self.shown()}\n{self.server.errors()[-2000:]}", seconds)
        return self.shown()

    def stop(self, **arguments):
        self.ec2.stop_instances(InstanceIds=[self.id], **arguments)
        return self.reach("stopped")

    def start(self):
        self.ec2.start_instances(InstanceIds=[self.id])
        return self.reach("running")

    def terminate(self):
        self.ec2.terminate_instances(InstanceIds=[self.id])
        return self.reach("terminated")

    def console(self):
        binary = self.server.binary
        return subprocess.run([binary, "logs", self.id], capture_output=True, env=self.env(), timeout=30).stdout.decode(errors="replace")

    # Inside

    def env(self):
        return {"HAAR_ENDPOINT": self.server.endpoint, "PATH": os.environ["PATH"]}

    def run(self, script, check=True):
        """A shell's output inside; None where it cannot run or fails and need not be well."""
        run = subprocess.run([self.server.binary, "exec", self.id, "--", "sh", "-c", script], capture_output=True,
                             text=True, env=self.env(), timeout=60)
        assert not check or run.returncode == 0, (script, run.returncode, run.stdout, run.stderr, self.console()[-500:])
        return run.stdout.strip() if run.returncode == 0 else None

    def answers(self, seconds=20):
        """Until commands run in it."""
        until(lambda: self.run("echo", check=False) is not None, lambda: f"{self.id} takes no commands: {self.console()[-1000:]}", seconds)

    # As the host sees it

    def groups(self):
        return [path for path in glob.glob(f"/sys/fs/cgroup/**/haar/{self.owner}/{self.id}", recursive=True)]

    def pids(self):
        """Of the guest's processes: the monitor's are beside them."""
        found = set()
        for group in self.groups():
            for part in ("", "guest"):
                try:
                    found.update(map(int, pathlib.Path(group, part, "cgroup.procs").read_text().split()))
                except OSError:
                    pass
        return found

    def limit(self, *names):
        """The file of its cgroups that holds one of these limits, or None."""
        files = [pathlib.Path(group, part, name) for group in self.groups() for part in ("", "guest") for name in names]
        return next((file for file in files if file.exists() and not file.read_text().startswith(("max", "-1"))), None)

    def init(self):
        """The pid of its init on the host, or None."""
        for pid in sorted(self.pids()):
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            numbers = re.search(r"^NSpid:\s+(.*)$", status, re.M)[1].split()
            if len(numbers) == 2 and numbers[1] == "1":
                return pid
        return None

    def monitor(self):
        name, parent, _ = stat_of(self.init())
        del name
        assert stat_of(parent)[0] == "haar-monitor"
        return parent

    def links(self):
        """The routers' ends of its interfaces, as their aliases name them."""
        found = []
        for space in sorted(pathlib.Path("/run/netns").glob(f"haar-{self.owner}-*")):
            text = subprocess.run(["nsenter", f"--net={space}", "ip", "-o", "link"], capture_output=True, text=True).stdout
            found += re.findall(rf"alias haar:{self.owner}:(eni-\w+)", text)
        enis = [interface["NetworkInterfaceId"] for interface in self.shown()["NetworkInterfaces"]]
        return [eni for eni in found if eni in enis]

    def disk(self):
        return pathlib.Path(f"/var/lib/haar/{self.owner}/machines/{self.id}")

    def run_folder(self):
        return pathlib.Path(f"/var/lib/haar/{self.owner}/m/{self.id}")
