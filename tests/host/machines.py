"""Machines of a server under test, and what the outside and the inside see of them: real packets, real processes."""

import base64
import contextlib
import json
import os
import pathlib
import socket
import subprocess

import pytest

import machine
from haar import Server, new_account

# What runs machines. Each is a parameter of the acceptance suite; docker and kubernetes become two more rows.
DRIVERS = ["native"]

ANYWHERE = "0.0.0.0/0"
MARKS = ("/run/netns", "/sys/fs/cgroup", "/var/lib/haar", "/run/haar")

# Answers each connection with a banner of ours and the caller's address. Whoever needs a server in a machine boots it.
BANNER = """#!/usr/bin/python3
import os, socket
if os.fork() == 0:
    os.setsid()
    server = socket.create_server(("", 80), backlog=64)
    while True:
        peer, (address, _) = server.accept()
        peer.sendall(("%s " + address).encode())
        peer.close()
"""


def banner_server(name):
    return BANNER % name


def a_machine(server, **arguments):
    """One that runs, in an account of its own."""
    made = machine.Machine.launch(server, server.client("ec2", account=new_account()), **arguments)
    made.reach("running")
    made.answers()
    return made


def seen_by(seen, server):
    """The same machine at another server."""
    account = seen.ec2._request_signer._credentials.access_key  # pylint: disable=protected-access
    return machine.Machine(server, server.client("ec2", account=account), seen.id)


def until(check, seconds=10, what="it"):
    """The first true value of check(), asked often; fails after that many seconds."""
    return machine.until(check, what, seconds)


def usr_is_an_overlay():
    """As in a container."""
    return subprocess.run(["stat", "-f", "-c", "%T", "/usr"], capture_output=True, text=True).stdout.strip() == "overlayfs"


def traces(ident):
    """What a host has of a machine: folders, namespaces, cgroups, processes, mounts."""
    found = []
    for folder in MARKS:
        for at, folders, files in os.walk(folder):
            found += [f"{at}/{name}" for name in folders + files if ident in name]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if ident.encode() in line:
            found.append(f"/proc/{pid}: {line}")
    return found + [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if ident in line]


def answer_of(address, port=80, timeout=0.5):
    """What the banner's server says to this host, or None: [banner, our address as it sees it]."""
    try:
        with socket.create_connection((address, port), timeout=timeout) as s:
            s.settimeout(2)
            return b"".join(iter(lambda: s.recv(4096), b"")).decode().split() or None
    except OSError:
        return None


def rule(protocol="tcp", port=80, cidr=None, group=None):
    """One IpPermission."""
    source = {"UserIdGroupPairs": [{"GroupId": group}]} if group else {"IpRanges": [{"CidrIp": cidr or ANYWHERE}]}
    return [{"IpProtocol": protocol, "FromPort": port, "ToPort": port} | source]


def start_with(binary, driver, *arguments, env=None, under=()):
    """A server whose machines this driver runs; skips where it cannot."""
    if driver == "native" and os.getuid() != 0:
        pytest.skip("native machines: needs root")
    server = Server(binary, "--backend", "auto" if driver == "native" else driver, *arguments, env=env, under=under)
    backend = json.loads(server.get("/_haar/health")[1])["backends"]["ec2"]
    if backend != driver:
        server.stop()
        pytest.skip(f"{driver} machines: this host has backend {backend}")
    return server


class Cloud:
    """One account of a server with machines: what a test makes through it ends with it."""

    def __init__(self, server, binary, account):
        self.server, self.binary, self.account = server, binary, account
        self.ec2 = server.client("ec2", account=account)
        self.made = []

    @property
    def image(self):
        images = self.ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "name", "Values": ["al2023-ami-2023.*-x86_64"]}])
        return images["Images"][0]["ImageId"]

    def run(self, user_data=None, **members):
        """One machine, running; its record."""
        if user_data:
            members["UserData"] = user_data
        answer = self.ec2.run_instances(**{"ImageId": self.image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1} | members)
        ident = answer["Instances"][0]["InstanceId"]
        self.made.append(ident)
        return until(lambda: self.in_state(ident, "running"), what=f"{ident} runs")

    def show(self, ident):
        return self.ec2.describe_instances(InstanceIds=[ident])["Reservations"][0]["Instances"][0]

    def in_state(self, ident, state):
        found = self.show(ident)
        return found if found["State"]["Name"] == state else None

    def booted(self, ident):
        """Waits for its user data to have ended."""
        def ok():
            [status] = self.ec2.describe_instance_status(InstanceIds=[ident])["InstanceStatuses"]
            return status["InstanceStatus"]["Status"] == "ok"
        until(ok, what=f"{ident} has booted")

    def execute(self, ident, *command, status=0, timeout=30):
        """`haar exec`: what it printed."""
        run = subprocess.run([self.binary, "exec", "--endpoint", self.server.endpoint, ident, "--", *command],
                             capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
        assert status is None or run.returncode == status, (command, run.returncode, run.stdout, run.stderr)
        return run.stdout

    def python(self, ident, script):
        """A Python script in a machine, which prints JSON."""
        return json.loads(self.execute(ident, "python3", "-c", script))

    def answer_inside(self, ident, address, port=80):
        """As answer_of, from inside a machine."""
        said = self.execute(ident, "timeout", "1", "bash", "-c", f"cat < /dev/tcp/{address}/{port}", status=None)
        return said.split() or None

    def group(self, vpc=None, *permissions):
        """A security group of the VPC (the default one without), with these ingress rules."""
        name = f"g{len(self.ec2.describe_security_groups()['SecurityGroups'])}"
        ident = self.ec2.create_security_group(GroupName=name, Description="of a test", **({"VpcId": vpc} if vpc else {}))["GroupId"]
        for permission in permissions:
            self.allow(ident, permission)
        return ident

    def allow(self, group, permission):
        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=permission)

    def revoke(self, group, permission):
        self.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=permission)

    def network(self, cidr, *subnets, internet=False):
        """A VPC and subnets of it: (vpc, [subnet, …])."""
        vpc = self.ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        made = [self.ec2.create_subnet(VpcId=vpc, CidrBlock=s, AvailabilityZone="us-east-1a")["Subnet"]["SubnetId"] for s in subnets]
        if internet:
            gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
            self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
            [main] = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
            self.ec2.create_route(RouteTableId=main["RouteTableId"], DestinationCidrBlock=ANYWHERE, GatewayId=gateway)
        return vpc, made

    def terminate(self, *idents):
        idents = idents or self.made
        if idents:
            self.ec2.terminate_instances(InstanceIds=list(idents))
        for ident in idents:
            until(lambda ident=ident: self.in_state(ident, "terminated"), 30, f"{ident} terminates")

    def console(self, ident):
        output = self.ec2.get_console_output(InstanceId=ident).get("Output", "")
        return output if output.isascii() and " " in output else base64.b64decode(output).decode(errors="replace")


@contextlib.contextmanager
def cloud_of(server, binary, account):
    cloud = Cloud(server, binary, account)
    try:
        yield cloud
    finally:
        cloud.terminate()
