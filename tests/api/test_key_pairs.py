"""Key pairs: files and fingerprints as ssh-keygen, openssl and puttygen see them."""

import base64
import shutil
import subprocess

import pytest
from botocore.exceptions import ClientError

NOT_A_KEY = ("InvalidKey.Format", "Key is not in valid OpenSSH public key format")


def run(*command, input=None, text=True):
    return subprocess.run([str(c) for c in command], input=input, capture_output=True, text=text, check=True,
                          timeout=60).stdout


def refused(call, **arguments):
    with pytest.raises(ClientError) as e:
        call(**arguments)
    return e.value.response["Error"]["Code"], e.value.response["Error"]["Message"]


def colons(hex):
    return ":".join(hex[i:i + 2] for i in range(0, len(hex), 2))


def digest(name, data):
    return colons(run("openssl", "dgst", f"-{name}", "-r", input=data, text=False).split()[0].decode())


@pytest.fixture
def keep(tmp_path):
    """keep(text): a file as ssh wants private keys."""
    def keep(text, name="key"):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    return keep


@pytest.fixture
def make_key(tmp_path):
    """make_key("-t", "rsa", …): the path of a private key; its public one is beside it."""
    def make(*arguments):
        path = tmp_path / f"made-{len(list(tmp_path.iterdir()))}"
        run("ssh-keygen", "-q", "-N", "", "-C", "someone@somewhere", "-f", path, *arguments)
        return path

    return make


@pytest.fixture
def puttygen():
    return shutil.which("puttygen") or pytest.skip("puttygen is not installed (package putty-tools)")


def public_line(path):
    return path.with_suffix(".pub").read_text()


def shown(ec2, name):
    return ec2.describe_key_pairs(KeyNames=[name], IncludePublicKey=True)["KeyPairs"][0]


def sha256_of(path):
    """As ssh-keygen -l shows it, with the padding that it leaves out."""
    return run("ssh-keygen", "-l", "-E", "sha256", "-f", path).split()[1].removeprefix("SHA256:") + "="


def test_a_created_rsa_pair_is_pkcs1_of_2048_bits_with_the_fingerprint_of_its_pkcs8(ec2, keep):
    made = ec2.create_key_pair(KeyName="mine")
    assert made["KeyMaterial"].startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    assert made["KeyMaterial"].endswith("\n-----END RSA PRIVATE KEY-----")
    key = keep(made["KeyMaterial"])
    assert run("openssl", "rsa", "-in", key, "-noout", "-check").strip() == "RSA key ok"
    der = run("openssl", "pkcs8", "-in", key, "-topk8", "-nocrypt", "-outform", "DER", text=False)
    assert made["KeyFingerprint"] == digest("sha1", der)
    assert run("ssh-keygen", "-y", "-f", key).strip() + " mine" == shown(ec2, "mine")["PublicKey"]
    assert run("ssh-keygen", "-l", "-f", key).split()[0] == "2048"


def test_a_created_ed25519_pair_is_an_openssh_file_with_the_fingerprint_of_ssh_keygen(ec2, keep):
    made = ec2.create_key_pair(KeyName="mine", KeyType="ed25519")
    assert made["KeyMaterial"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    key = keep(made["KeyMaterial"])
    assert made["KeyFingerprint"] == sha256_of(key)
    assert run("ssh-keygen", "-y", "-f", key).strip() == shown(ec2, "mine")["PublicKey"]


@pytest.mark.parametrize("type", ["rsa", "ed25519"])
def test_puttygen_reads_a_ppk_and_writes_it_the_same(ec2, keep, tmp_path, puttygen, type):
    for i in range(6):  # of random numbers half begin with a bit that is set
        made = ec2.create_key_pair(KeyName=f"my key {i}", KeyType=type, KeyFormat="ppk")
        assert made["KeyMaterial"].startswith(f"PuTTY-User-Key-File-2: ssh-{type}\n")
        key = keep(made["KeyMaterial"], f"key{i}.ppk")
        written = tmp_path / f"written{i}.ppk"
        run(puttygen, key, "-C", f"my key {i}", "-O", "private", "--ppk-param", "version=2", "-o", written)
        assert written.read_text() == made["KeyMaterial"]
        assert run(puttygen, key, "-O", "public-openssh").strip() == shown(ec2, f"my key {i}")["PublicKey"]


def test_the_fingerprint_of_a_ppk_is_that_of_its_key(ec2, keep, tmp_path, puttygen):
    made = ec2.create_key_pair(KeyName="mine", KeyFormat="ppk")
    pem = tmp_path / "pem"
    run(puttygen, keep(made["KeyMaterial"], "key.ppk"), "-O", "private-openssh", "-o", pem)
    der = run("openssl", "pkcs8", "-in", pem, "-topk8", "-nocrypt", "-outform", "DER", text=False)
    assert made["KeyFingerprint"] == digest("sha1", der)


@pytest.mark.parametrize("bits", [1024, 2048, 4096])
def test_an_imported_rsa_key_has_the_md5_of_its_der_in_every_format(ec2, make_key, bits):
    key = make_key("-t", "rsa", "-b", str(bits))
    pem = run("ssh-keygen", "-e", "-m", "pkcs8", "-f", key.with_suffix(".pub"))
    der = run("openssl", "pkey", "-pubin", "-outform", "DER", input=pem.encode(), text=False)
    rfc4716 = run("ssh-keygen", "-e", "-m", "RFC4716", "-f", key.with_suffix(".pub"))
    for i, material in enumerate([public_line(key), pem, base64.b64encode(der), rfc4716]):
        made = ec2.import_key_pair(KeyName=f"k{i}", PublicKeyMaterial=material)
        assert made["KeyFingerprint"] == digest("md5", der)
        pair = shown(ec2, f"k{i}")
        assert pair["KeyType"] == "rsa" and pair["KeyPairId"] == made["KeyPairId"]
        assert pair["PublicKey"] == " ".join(public_line(key).split()[:2] + [f"k{i}"])


def test_an_imported_ed25519_key_has_the_fingerprint_of_ssh_keygen(ec2, make_key):
    key = make_key("-t", "ed25519")
    made = ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=public_line(key))
    assert made["KeyFingerprint"] == sha256_of(key)
    assert shown(ec2, "mine")["KeyType"] == "ed25519"


@pytest.mark.parametrize("kind", [["-t", "ecdsa"], ["-t", "rsa", "-b", "3072"]])
def test_other_kinds_of_key_are_refused(ec2, make_key, kind):
    assert refused(ec2.import_key_pair, KeyName="mine", PublicKeyMaterial=public_line(make_key(*kind))) == NOT_A_KEY


def test_what_is_no_key_is_refused(ec2, make_key):
    line = public_line(make_key("-t", "ed25519"))
    blob = line.split()[1]
    cut = base64.b64encode(base64.b64decode(blob)[:-1]).decode()
    longer = base64.b64encode(base64.b64decode(blob) + b"x").decode()
    huge = base64.b64encode(b"\0\0\0\x07ssh-rsa\xff\xff\xff\xff").decode()
    for bad in ["x", "ssh-rsa", "ssh-rsa ", f"ssh-rsa {blob}", f"ssh-ed25519 {cut}", f"ssh-ed25519 {longer}",
                f"ssh-rsa {huge}", "====", "AAAA", "ssh-ed25519 " + blob[:-3],
                "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----",
                "---- BEGIN SSH2 PUBLIC KEY ----\nComment: \\\n"]:
        assert refused(ec2.import_key_pair, KeyName="mine", PublicKeyMaterial=bad) == NOT_A_KEY, bad
    assert ec2.describe_key_pairs()["KeyPairs"] == []


def test_rsa_with_an_exponent_that_none_can_use_is_refused(ec2):
    def blob(*parts):
        return base64.b64encode(b"".join(len(p).to_bytes(4, "big") + p for p in parts)).decode()

    def der(tag, content):
        size = len(content).to_bytes(2, "big")
        return bytes([tag, 0x82]) + size + content

    n = b"\0" + b"\xc1" * 128
    rsa = bytes.fromhex("300d06092a864886f70d0101010500")
    for e in [b"\1", b"\4", b"\0", b"\x7f" * 129, b"\x7f" * 1100]:
        info = der(0x30, rsa + der(3, b"\0" + der(0x30, der(2, n) + der(2, e))))
        for material in ["ssh-rsa " + blob(b"ssh-rsa", e, n), base64.b64encode(info).decode()]:
            assert refused(ec2.import_key_pair, KeyName="mine", PublicKeyMaterial=material) == NOT_A_KEY, e
    ec2.import_key_pair(KeyName="mine", PublicKeyMaterial="ssh-rsa " + blob(b"ssh-rsa", b"\3", n))
    info = der(0x30, rsa + der(3, b"\0" + der(0x30, der(2, n) + der(2, b"\3"))))
    ec2.import_key_pair(KeyName="same", PublicKeyMaterial=base64.b64encode(info).decode())


def test_a_private_key_is_not_taken(ec2, make_key):
    assert refused(ec2.import_key_pair, KeyName="mine", PublicKeyMaterial=make_key("-t", "ed25519").read_text()) == NOT_A_KEY


def test_material_has_at_most_2048_characters(ec2):
    code, message = refused(ec2.import_key_pair, KeyName="mine", PublicKeyMaterial="ssh-rsa " + "A" * 2041)
    assert (code, message) == ("InvalidParameterValue",
                               "Value for parameter PublicKeyMaterial is invalid. Length exceeds maximum of 2048.")


def test_a_name_is_used_once(ec2, make_key):
    ec2.create_key_pair(KeyName="mine", KeyType="ed25519")
    expected = ("InvalidKeyPair.Duplicate", "The keypair already exists")
    assert refused(ec2.create_key_pair, KeyName="mine") == expected
    line = public_line(make_key("-t", "ed25519"))
    assert refused(ec2.import_key_pair, KeyName="mine", PublicKeyMaterial=line) == expected
    ec2.import_key_pair(KeyName="Mine", PublicKeyMaterial=line)


@pytest.mark.parametrize("name", ["", " a", "a ", "é", "a\nb", "n" * 256])
def test_names_that_break_the_rules_are_refused(ec2, name):
    assert refused(ec2.create_key_pair, KeyName=name)[0] in ("InvalidParameterValue", "MissingParameter")


def test_a_name_may_have_255_characters(ec2):
    name = "n" * 126 + " ~!" + "n" * 126
    assert ec2.create_key_pair(KeyName=name, KeyType="ed25519")["KeyName"] == name


def test_dry_run_makes_no_pair(ec2):
    assert refused(ec2.create_key_pair, KeyName="mine", DryRun=True)[0] == "DryRunOperation"
    assert ec2.describe_key_pairs()["KeyPairs"] == []


def test_describe_shows_a_pair_without_its_keys(ec2):
    tags = [{"Key": "a", "Value": "1"}]
    made = ec2.create_key_pair(KeyName="mine", KeyType="ed25519",
                               TagSpecifications=[{"ResourceType": "key-pair", "Tags": tags}])
    assert made["Tags"] == tags
    pair, = ec2.describe_key_pairs()["KeyPairs"]
    assert set(pair) == {"KeyPairId", "KeyFingerprint", "KeyName", "KeyType", "Tags", "CreateTime"}
    assert all(pair[k] == made[k] for k in ("KeyPairId", "KeyFingerprint", "KeyName", "Tags"))


def test_describe_by_names_ids_and_filters(ec2):
    made = {n: ec2.create_key_pair(KeyName=n, KeyType="ed25519") for n in ("a", "b", "c")}
    ids = {n: m["KeyPairId"] for n, m in made.items()}
    ec2.create_tags(Resources=[ids["b"]], Tags=[{"Key": "team", "Value": "x"}])

    def names(**arguments):
        return sorted(p["KeyName"] for p in ec2.describe_key_pairs(**arguments)["KeyPairs"])

    def filtered(name, *values):
        return names(Filters=[{"Name": name, "Values": list(values)}])

    assert names() == ["a", "b", "c"]
    assert names(KeyNames=["c", "a"]) == ["a", "c"]
    assert names(KeyPairIds=[ids["b"]]) == ["b"]
    assert names(KeyPairIds=[ids["b"]], KeyNames=["b", "c"]) == ["b", "c"]
    assert filtered("key-name", "a*", "b") == ["a", "b"]
    assert filtered("key-pair-id", ids["c"]) == ["c"]
    assert filtered("fingerprint", made["a"]["KeyFingerprint"]) == ["a"]
    assert filtered("tag-key", "team") == filtered("tag:team", "x") == ["b"]
    assert names(KeyNames=["a", "b"], Filters=[{"Name": "tag-key", "Values": ["team"]}]) == ["b"]


def test_unknown_pairs_are_not_described(ec2):
    assert refused(ec2.describe_key_pairs, KeyNames=["nope"]) == (
        "InvalidKeyPair.NotFound", "The key pair 'nope' does not exist")
    assert refused(ec2.describe_key_pairs, KeyPairIds=["key-0123456789abcdef0"]) == (
        "InvalidKeyPair.NotFound", "The key pair ID 'key-0123456789abcdef0' does not exist")


def test_a_pair_is_deleted_by_name_or_id(ec2):
    made = {n: ec2.create_key_pair(KeyName=n, KeyType="ed25519")["KeyPairId"] for n in ("a", "b")}
    by_name, by_id = ec2.delete_key_pair(KeyName="a"), ec2.delete_key_pair(KeyPairId=made["b"])
    assert (by_name["Return"], by_name["KeyPairId"]) == (True, made["a"])
    assert (by_id["Return"], by_id["KeyPairId"]) == (True, made["b"])
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    ec2.create_key_pair(KeyName="a", KeyType="ed25519")


def test_deleting_an_absent_pair_succeeds(ec2):
    assert ec2.delete_key_pair(KeyName="nope")["Return"] is True
    assert ec2.delete_key_pair(KeyPairId="key-0123456789abcdef0")["Return"] is True


def test_delete_names_one_pair(ec2):
    assert refused(ec2.delete_key_pair)[0] == "MissingParameter"


def test_tags_of_a_pair_are_described(ec2):
    made = ec2.create_key_pair(KeyName="mine", KeyType="ed25519", TagSpecifications=[
        {"ResourceType": "key-pair", "Tags": [{"Key": "a", "Value": "1"}]}])
    assert ec2.describe_tags()["Tags"] == [
        {"ResourceType": "key-pair", "ResourceId": made["KeyPairId"], "Key": "a", "Value": "1"}]
    assert refused(ec2.create_key_pair, KeyName="other", TagSpecifications=[
        {"ResourceType": "vpc", "Tags": [{"Key": "a", "Value": "1"}]}])[0] == "InvalidParameterValue"
