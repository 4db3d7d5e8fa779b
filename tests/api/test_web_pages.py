"""What web pages can send changes nothing: byte by byte, and by a real browser where there is one (chromium)."""

import contextlib
import http.server
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse

import pytest

from haar import Raw, Server, error_of

PRESIGNED = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": "test/20260101/us-east-1/ec2/aws4_request",
             "X-Amz-Date": "20260101T000000Z", "X-Amz-Expires": "60", "X-Amz-SignedHeaders": "host",
             "X-Amz-Signature": "0" * 64}
OPERATIONS = pathlib.Path(__file__).resolve().parent.parent.parent / "docs/operations.md"
READS = ("Describe", "Get", "List", "Search")


def presigned(action, **parameters):
    return urllib.parse.urlencode({"Action": action, "Version": "2016-11-15"} | parameters | PRESIGNED)


def key_names(client):
    return {pair["KeyName"] for pair in client.describe_key_pairs()["KeyPairs"]}


@pytest.fixture
def own(binary):
    with Server(binary, "--backend", "none") as server:
        yield server


@pytest.fixture
def unsigned(own):
    raw = Raw(own.port)
    raw.headers = {}
    yield raw
    raw.close()


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "text/plain;charset=UTF-8",
                                          "multipart/form-data; boundary=b", "application/csp-report"])
def test_without_an_authorization_header_a_call_changes_nothing(own, unsigned, content_type):
    query = presigned("CreateKeyPair", KeyName="by-page")
    headers = {"Content-Type": content_type}
    for method, path, body in (("GET", f"/?{query}", None), ("POST", f"/?{query}", b""), ("POST", "/", query.encode()),
                               ("POST", f"/?{query}", b"x=y")):
        status, answer = unsigned.send(body, method, path, headers)
        assert (status, error_of(answer)[0]) == (403, "MissingAuthenticationToken"), answer
    assert key_names(own.client("ec2")) == set()


def test_only_operations_that_read_are_taken_presigned(unsigned):
    built = re.findall(r"^\| (\w+) \| (?:real|recorded) \|", OPERATIONS.read_text().split("## STS")[0], re.M)
    assert "RunInstances" in built and "DescribeInstances" in built
    for name in built:
        code = error_of(unsigned.send(None, "GET", f"/?{presigned(name)}")[1])[0]
        assert (code == "MissingAuthenticationToken") == (not name.startswith(READS)), name


def test_a_password_in_a_url_is_no_signature(own, unsigned):
    query = presigned("CreateKeyPair", KeyName="by-page")
    status, _ = unsigned.send(None, "GET", f"/?{query}", {"Authorization": "Basic QVdTNDp4"})
    assert status == 400
    assert key_names(own.client("ec2")) == set()


@pytest.mark.parametrize("header", [{"Origin": "http://127.0.0.1:1"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"},
                                    {"Sec-Fetch-Site": "cross-site"}], ids=lambda h: "-".join(*h.items()))
@pytest.mark.parametrize("path", ["/_haar/reset", "/_reset", "/moto-api/reset"])
def test_a_page_resets_nothing(own, unsigned, path, header):
    own.client("ec2").create_key_pair(KeyName="kept")
    assert unsigned.send(b"", "POST", path, header)[0] == 403
    assert unsigned.send(None, "GET", path)[0] == 405  # what an image sends
    assert key_names(own.client("ec2")) == {"kept"}
    assert unsigned.send(b"", "POST", path)[0] == 200  # a test suite's curl
    assert key_names(own.client("ec2")) == set()


def test_a_preflight_gets_no_leave(own):
    with socket.create_connection(("127.0.0.1", own.port), timeout=10) as s:
        s.sendall(b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nOrigin: http://localhost:1\r\n"
                  b"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n\r\n")
        answer = b"".join(iter(lambda: s.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 403 ") and b"access-control" not in answer.lower()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl --aws-sigv4: no curl")
def test_curl_with_a_signature_may_write(own):
    command = ["curl", "-fsS", "--aws-sigv4", "aws:amz:us-east-1:ec2", "--user", "test:test", own.endpoint,
               "-d", "Action=CreateKeyPair", "-d", "Version=2016-11-15", "-d", "KeyName=by-curl"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=30)
    assert key_names(own.client("ec2")) == {"by-curl"}


# A real browser.

WAYS = ("image", "script", "preload", "frame", "fetch-get", "fetch-query", "fetch-body", "beacon", "ping", "form-query",
        "form-body")


def page(target):
    """A page that sends CreateKeyPair in every way it can, each with a name of its own, and resets."""
    url = {way: f"http://{target}/?{presigned('CreateKeyPair', KeyName=way)}" for way in WAYS}
    fields = {"Action": "CreateKeyPair", "Version": "2016-11-15", "KeyName": "form-body"} | PRESIGNED
    inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in fields.items())
    return f"""<!doctype html><link rel="preload" as="image" href="{url['preload']}">
        <img src="{url['image']}"><script src="{url['script']}"></script><iframe src="{url['frame']}"></iframe>
        <iframe name="one"></iframe><iframe name="two"></iframe><iframe name="three"></iframe>
        <form target="one" method="post" action="{url['form-query']}"><input name="x" value="y"></form>
        <form target="two" method="post" action="http://{target}/">{inputs}</form>
        <form target="three" method="post" action="http://{target}/_haar/reset"></form>
        <a href="#here" ping="{url['ping']}">here</a>
        <script>
        for (const form of document.forms) form.submit();
        document.querySelector("a").click();
        navigator.sendBeacon("{url['beacon']}", "x");
        fetch("{url['fetch-get']}", {{mode: "no-cors"}});
        fetch("{url['fetch-query']}", {{mode: "no-cors", method: "POST", body: "x"}});
        fetch("http://{target}/", {{mode: "no-cors", method: "POST", body: "{presigned('CreateKeyPair', KeyName='fetch-body')}"}});
        fetch("http://{target}/", {{method: "POST", headers: {{Authorization: "AWS4-HMAC-SHA256 x"}}, body: "x"}}).catch(() => 0);
        </script>""".encode()


class Wire:
    """Between browser and server: passes every byte on and keeps what the browser said."""

    def __init__(self, port):
        self.server_port = port
        self.said, self.answers, self.sockets = b"", 0, []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.server_port))
                self.sockets += [client, server]
                threading.Thread(target=self.pump, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self.pump, args=(server, client, False), daemon=True).start()

    def pump(self, source, sink, is_client):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                with self.lock:
                    if is_client:
                        self.said += piece
                    else:
                        self.answers += piece.count(b"HTTP/1.1 ")
                sink.sendall(piece)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def requests(self):
        """The ways that have come, with the reset and the preflight."""
        with self.lock:
            ways = set(re.findall(rb"KeyName=([a-z-]+)", self.said))
            return ({way.decode() for way in ways} | ({"reset"} if b"POST /_haar/reset" in self.said else set()) |
                    ({"preflight"} if b"OPTIONS / " in self.said else set()))

    def all_answered(self):
        with self.lock:
            return self.answers >= len(re.findall(rb"^(?:GET|POST|OPTIONS) /", self.said, re.M))

    def close(self):
        for s in [self.listener, *self.sockets]:
            s.close()


@contextlib.contextmanager
def page_server(content):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def browser(url, profile):
    """Chromium at that page; every .test name is this host."""
    command = [shutil.which("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
               "--remote-debugging-port=0", f"--user-data-dir={profile}",
               "--host-resolver-rules=MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", url]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield
    process.terminate()
    process.wait(20)


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.skipif(not shutil.which("chromium"), reason="web pages in a real browser: no chromium")
@pytest.mark.parametrize("page_host, target_host", [("127.0.0.1", "127.0.0.1"), ("evil.test", "127.0.0.1"),
                                                    ("evil.test", "haar.test"), ("haar.test", "haar.test"),
                                                    ("evil.haar.test", "haar.test")])
def test_a_page_in_a_browser_changes_nothing(binary, tmp_path, page_host, target_host):
    with Server(binary, "--backend", "none", env={"HAAR_ALLOWED_HOSTS": "haar.test"}) as server:
        ec2 = server.client("ec2")
        ec2.create_key_pair(KeyName="kept")
        wire = Wire(server.port)
        with page_server(page(f"{target_host}:{wire.port}")) as port, browser(f"http://{page_host}:{port}/", tmp_path):
            sent = {*WAYS, "reset", "preflight"}
            wait_until(lambda: wire.requests() == sent and wire.all_answered())
            assert wire.requests() == sent
            assert wire.all_answered()
        wire.close()
        assert key_names(ec2) == {"kept"}
