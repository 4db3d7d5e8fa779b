"""Every operation of every model, held against botocore's own serialiser and parser: no parameter lost, none invented,
no value missing. oracle.c puts our decoder and encoder at a pipe."""

import base64
import datetime
import subprocess
import urllib.parse

import botocore.parsers
import botocore.serialize
import botocore.session
import botocore.signers
import pytest
from botocore.credentials import Credentials

SERVICES = ("ec2", "sts")
SESSION = botocore.session.Session()
MODELS = {name: SESSION.get_service_model(name) for name in SERVICES}
OPERATIONS = [(service, name) for service in SERVICES for name in MODELS[service].operation_names]
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class Oracle:
    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, verb, service, name, body):
        self.process.stdin.write(f"{verb} {service} {name} {len(body)}\n".encode() + body)
        self.process.stdin.flush()
        answer = self.process.stdout.read(int(self.process.stdout.readline()))
        assert not answer.startswith(b"!"), answer.decode()
        return answer

    def decode(self, service, name, form):
        return read_leaves(self.ask("decode", service, name, form.encode()))

    def encode(self, service, name, leaves):
        body = b"".join(f"{path} {len(text)}\n".encode() + text for path, text in leaves.items())
        return self.ask("encode", service, name, body)


@pytest.fixture(scope="session")
def oracle(build):
    oracle = Oracle(build / "tests/oracle")
    yield oracle
    oracle.process.stdin.close()
    assert oracle.process.wait(10) == 0


def read_leaves(body):
    leaves = {}
    while body:
        line, _, body = body.partition(b"\n")
        path, _, length = line.decode().partition(" ")
        assert path not in leaves
        leaves[path], body = body[: int(length)], body[int(length) :]
    return leaves


class Values:
    """A value for every member, all the way down, each its own: what arrives in the wrong place is seen."""

    def __init__(self):
        self.n = 0

    def of(self, shape, path=(), item=0):
        self.n += 1
        if shape.type_name == "structure":
            if path.count(shape.name) > 1:  # a shape within itself
                return None
            inner = {name: self.of(member, path + (shape.name,)) for name, member in shape.members.items()}
            return {name: value for name, value in inner.items() if value is not None}
        if shape.type_name == "list":
            items = [self.of(shape.member, path, i) for i in range(2)]
            return None if None in items else items
        return getattr(self, shape.type_name)(shape, item)

    def string(self, shape, item):
        if getattr(shape, "enum", None):
            return shape.enum[(self.n + item) % len(shape.enum)]
        return f"a {self.n}&<b>=\"é+%\" 'c' "

    def number(self, shape, limit):
        low, high = shape.metadata.get("min", 0), shape.metadata.get("max", limit)
        return min(max(int(low), self.n), int(high))

    def integer(self, shape, item):
        return self.number(shape, 2**31 - 1)

    def long(self, shape, item):
        return self.number(shape, 2**63 - 1) if self.n % 3 else 2**40 + self.n

    def float(self, shape, item):
        return self.n + 0.25

    double = float

    def boolean(self, shape, item):
        return self.n % 2 == 0

    def timestamp(self, shape, item):
        return EPOCH + datetime.timedelta(seconds=1_700_000_000 + self.n)

    def blob(self, shape, item):
        return b"\x00\xff" + str(self.n).encode()


def leaves_of(value, text, path=""):
    """{path: text} of everything in a value: as oracle.c says it, by `text`."""
    if isinstance(value, dict):
        inner = [(str(name), part) for name, part in value.items()]
        empty = "{}"
    elif isinstance(value, list):
        inner = [(str(i), part) for i, part in enumerate(value)]
        empty = "[]"
    else:
        return {path: text(value)}
    if not inner:
        return {path + empty: b""} if path else {}
    leaves = {}
    for name, part in inner:
        leaves.update(leaves_of(part, text, f"{path}.{name}" if path else name))
    return leaves


def decoded_text(value):
    """As shape_text says it."""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.000Z").encode()
    if isinstance(value, bytes):
        return value
    return repr(value).encode() if isinstance(value, float) else str(value).encode()


def to_encode(value):
    """As oracle.c's set_scalar reads it: times in milliseconds."""
    if isinstance(value, datetime.datetime):
        return str(int((value - EPOCH).total_seconds() * 1000)).encode()
    return decoded_text(value)


def full_input(operation):
    return Values().of(operation.input_shape) if operation.input_shape else {}


def serialise(service, operation, values):
    serialiser = botocore.serialize.create_serializer(MODELS[service].metadata["protocol"], False)
    return serialiser.serialize_to_request(values, operation)


@pytest.mark.parametrize("service,name", OPERATIONS)
def test_every_parameter_arrives(oracle, service, name):
    operation = MODELS[service].operation_model(name)
    values = full_input(operation)
    form = urllib.parse.urlencode(serialise(service, operation, values)["body"])
    assert oracle.decode(service, name, form) == leaves_of(values, decoded_text)


@pytest.mark.parametrize("service,name", OPERATIONS)
def test_every_parameter_arrives_in_a_presigned_url(oracle, service, name):
    operation = MODELS[service].operation_model(name)
    values = full_input(operation)
    request = serialise(service, operation, values)
    request["url"], request["context"] = "http://127.0.0.1:4566/", {}
    request["method"] = "GET"
    url = sign(service, request)
    assert oracle.decode(service, name, urllib.parse.urlsplit(url).query) == leaves_of(values, decoded_text)


def sign(service, request):
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest

    signed = AWSRequest(method="GET", url=request["url"], data=request["body"], headers={})
    signed.context.update(request["context"])
    SigV4QueryAuth(Credentials("AKIDEXAMPLE", "secret"), service, "us-east-1").add_auth(signed)
    return signed.url


@pytest.mark.parametrize("service,name", OPERATIONS)
def test_every_value_of_an_answer_arrives(oracle, service, name):
    operation = MODELS[service].operation_model(name)
    values = Values().of(operation.output_shape) if operation.output_shape else {}
    xml = oracle.encode(service, name, leaves_of(values, to_encode))
    parsed = parse(service, operation, 200, xml)
    assert parsed.pop("ResponseMetadata")["RequestId"] == "request-1"
    assert parsed == values


def parse(service, operation, status, xml):
    parser = botocore.parsers.create_parser(MODELS[service].metadata["protocol"])
    return parser.parse({"status_code": status, "headers": {}, "body": xml}, operation.output_shape)


@pytest.mark.parametrize("service,name", OPERATIONS)
def test_an_answer_without_values_parses(oracle, service, name):
    """What AWS always sends (false, 0, an empty string or list) is all that it holds."""
    operation = MODELS[service].operation_model(name)
    parsed = parse(service, operation, 200, oracle.encode(service, name, {}))
    parsed.pop("ResponseMetadata")
    assert all(value in (False, 0, "", []) for value in leaves_of(parsed, lambda v: v).values() if value != b"")


@pytest.mark.parametrize("service,name", OPERATIONS)
def test_an_error_arrives(oracle, service, name):
    operation = MODELS[service].operation_model(name)
    message = f"The {name} '<&\"é>' does not exist"
    parsed = parse(service, operation, 400, oracle.ask("error", service, "Invalid.NotFound", message.encode()))
    assert parsed["Error"]["Code"] == "Invalid.NotFound"
    assert parsed["Error"]["Message"] == message
    assert parsed["ResponseMetadata"]["RequestId"] == "request-1"


def test_an_empty_list_and_an_empty_structure_arrive(oracle):
    xml = oracle.encode("ec2", "DescribeVpcs", {"Vpcs[]".removesuffix("[]"): b""})
    assert parse("ec2", MODELS["ec2"].operation_model("DescribeVpcs"), 200, xml).get("Vpcs", []) == []


def test_a_blob_is_base64_on_the_wire(oracle):
    form = "PublicKeyMaterial=" + urllib.parse.quote(base64.b64encode(b"ssh-rsa AAAA"))
    assert oracle.decode("ec2", "ImportKeyPair", form) == {"PublicKeyMaterial": b"ssh-rsa AAAA"}
