"""A server under test: `build/haar serve` as a child, its clients, and raw requests to it."""

import http.client
import json
import os
import pathlib
import re
import secrets
import select
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

import boto3
import botocore.config

LISTENING = "haar: listening on "
VERSIONS = {"ec2": "2016-11-15", "sts": "2011-06-15"}


def new_account():
    """Twelve digits that nobody else has: an access key that is a world of its own."""
    return str(secrets.randbelow(9 * 10**11) + 10**11)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """Starts at once; `endpoint` is where it listens. Use it with `with`, or call stop()."""

    def __init__(self, binary, *arguments, listen=None, env=None, timeout=30, under=()):
        self.log = tempfile.TemporaryFile(mode="w+")
        self.listen = listen or f"127.0.0.1:{free_port()}"
        self.binary = str(binary)
        self.command = [*under, str(binary), "serve", "--listen", self.listen, *map(str, arguments)]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HAAR_", "FAKECLOUD_", "AWS_"))}
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.log, env=kept | (env or {}))
        self.endpoint = self._listening_line(time.monotonic() + timeout)
        self.port = urllib.parse.urlsplit(self.endpoint).port

    def _listening_line(self, deadline):
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            byte = os.read(self.process.stdout.fileno(), 1) if ready else b""
            if not byte:
                self.process.kill()
                status = self.process.wait()
                raise RuntimeError(f"{' '.join(self.command)}: no listening line (status {status}): {line!r}\n{self.errors()}")
            line += byte
        assert line.decode().startswith(LISTENING), line
        return line.decode().removeprefix(LISTENING).strip()

    def errors(self):
        """What it has logged so far."""
        self.log.flush()
        return pathlib.Path(f"/proc/self/fd/{self.log.fileno()}").read_text()

    def stop(self, expect=0):
        """SIGTERM; ends within 10 s with status 0."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not end within 10 s of SIGTERM\n{self.errors()}") from None
        finally:
            self.process.stdout.close()
        assert status == expect, f"the server ended with status {status}\n{self.errors()}"

    def kill(self):
        """As a power cut: SIGKILL."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        if kind:
            self.kill()
        else:
            self.stop()

    def client(self, service, region="us-east-1", account=None, **config):
        """A boto3 client as anybody makes one, but that it does not repeat what fails."""
        config = botocore.config.Config(**({"retries": {"total_max_attempts": 1}} | config))
        return boto3.client(service, endpoint_url=self.endpoint, region_name=region, config=config,
                            aws_access_key_id=account or "test", aws_secret_access_key="test")

    def aws(self, *arguments, region="us-east-1", account=None, status=0):
        """The AWS CLI: what it printed, read as JSON where it is; `status` is what it must end with."""
        cli = pathlib.Path(__file__).resolve().parent.parent / ".venv/bin/aws"
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "AWS_ACCESS_KEY_ID": account or "test",
               "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": region, "AWS_PAGER": "",
               "AWS_MAX_ATTEMPTS": "1"}
        run = subprocess.run([cli, "--endpoint-url", self.endpoint, "--output", "json", *map(str, arguments)],
                             capture_output=True, text=True, env=env, timeout=60)
        assert run.returncode == status, run.stdout + run.stderr
        if status:
            return run.stderr
        try:
            return json.loads(run.stdout)
        except ValueError:
            return run.stdout

    def get(self, path, method="GET", headers=None):
        """The server's own paths: (status, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def authorization(account="test", service="ec2", region="us-east-1"):
    return (f"AWS4-HMAC-SHA256 Credential={account}/20260101/{region}/{service}/aws4_request, "
            "SignedHeaders=host;x-amz-date, Signature=" + "0" * 64)


class Raw:
    """Requests byte by byte as we want them, over one kept connection: what no SDK would send."""

    def __init__(self, port, account="test", service="ec2", region="us-east-1"):
        self.service = service
        self.headers = {"Authorization": authorization(account, service, region),
                        "Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def send(self, body=b"", method="POST", path="/", headers=None):
        """(status, body). A header whose value is None is left out."""
        headers = {k: v for k, v in (self.headers | (headers or {})).items() if v is not None}
        self.connection.request(method, path, body=body, headers=headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def form(self, action, **parameters):
        values = {"Action": action, "Version": VERSIONS[self.service]} | parameters
        return urllib.parse.urlencode({k.replace("__", "."): v for k, v in values.items() if v is not None})

    def call(self, action, **parameters):
        """Parameters by their names on the wire; __ stands for a dot."""
        return self.send(self.form(action, **parameters))

    def close(self):
        self.connection.close()


def error_of(body):
    """(code, message) of an error's XML."""
    code = re.search(rb"<Code>(.*?)</Code>", body, re.S)
    message = re.search(rb"<Message>(.*?)</Message>", body, re.S)
    return (code[1].decode() if code else None, message[1].decode() if message else None)


def values_of(body, element):
    """The text of every element of that name."""
    return [text.decode() for text in re.findall(rb"<%b>([^<]*)</%b>" % (element.encode(), element.encode()), body)]
