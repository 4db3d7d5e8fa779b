"""Terraform, unmodified, with AWS's own provider: a network and its machines are applied, changed and destroyed."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from haar import new_account
from machines import BANNER, answer_of, cloud_of, traces, until

CONFIGURATION = pathlib.Path(__file__).parent / "terraform"
PROVIDER = "registry.terraform.io/hashicorp/aws"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB4ePsRD2jYDrpV0nX2CcMvH9lEuWcA1Mm4eBRk8K3oZ test"


def settings_files():
    """Where Terraform reads which folders have providers."""
    return [pathlib.Path(p) for p in (os.environ.get("TF_CLI_CONFIG_FILE"), pathlib.Path.home() / ".terraformrc") if p and pathlib.Path(p).is_file()]


def plugin_folders():
    if os.environ.get("TF_PLUGIN_DIR"):
        yield pathlib.Path(os.environ["TF_PLUGIN_DIR"])
    for file in settings_files():
        yield from map(pathlib.Path, re.findall(r'\bpath\s*=\s*"([^"]+)"', file.read_text()))
    yield pathlib.Path.home() / ".terraform.d/plugins"
    for base in ("/usr/share", "/usr/local/share", pathlib.Path.home() / ".local/share"):
        yield pathlib.Path(base) / "terraform/plugins"
    yield from pathlib.Path("/opt").glob("*")


class Terraform:
    def __init__(self, binary, plugins, folder, endpoint, account):
        self.binary, self.folder = binary, folder
        shutil.copytree(CONFIGURATION, folder, dirs_exist_ok=True)
        (folder / "rc").write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{plugins}"\n  }}\n}}\n')
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TF_"))}
        self.env = kept | {"TF_CLI_CONFIG_FILE": str(folder / "rc"), "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1",
                           "AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true"}
        self.values = {"account": account, "boot": BANNER % "NAME", "public_key": KEY}
        self.run("init")

    def run(self, *arguments, status=0):
        run = subprocess.run([self.binary, *arguments, "-no-color", "-input=false"], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=120)
        assert run.returncode == status, f"terraform {arguments[0]}: {run.stdout[-6000:]}{run.stderr[-6000:]}"
        return run.stdout

    def apply(self, **values):
        """The configuration with these values stands, and Terraform finds nothing to change in it; the outputs."""
        (self.folder / "terraform.tfvars.json").write_text(json.dumps(self.values | values))
        self.run("apply", "-auto-approve")
        self.run("plan", "-detailed-exitcode", status=0)
        state = json.loads((self.folder / "terraform.tfstate").read_text())
        return {name: output["value"] for name, output in state["outputs"].items()}

    def destroy(self):
        self.run("destroy", "-auto-approve", "-refresh=false")


@pytest.fixture
def account():
    return new_account()


@pytest.fixture
def terraform(driver_server, account, tmp_path):
    binary = shutil.which("terraform")
    if not binary:
        pytest.skip("terraform: not installed")
    plugins = next((folder for folder in plugin_folders() if (folder / PROVIDER).is_dir()), None)
    if not plugins:
        pytest.skip(f"terraform: no folder with {PROVIDER} (TF_PLUGIN_DIR names one)")
    return Terraform(binary, plugins, tmp_path / "configuration", driver_server.endpoint, account)


def test_terraform_applies_changes_and_destroys_a_network_with_machines(terraform, driver_server, binary, account):
    with cloud_of(driver_server, binary, account) as cloud:
        made = terraform.apply(port=81, stage="one", with_db=False)
        first, elastic = made["web"], made["elastic_ip"]
        assert made["account"] == account and cloud.show(first)["PublicIpAddress"] == elastic
        cloud.booted(first)
        assert answer_of(elastic) is None, "only port 81 is allowed"
        address = cloud.show(first)["PrivateIpAddress"]
        assert cloud.answer_inside(made["regrouped"], address) is None, "another group's machine is outside too"

        made = terraform.apply(port=80, stage="two", with_db=True)
        web, db = made["web"], made["db"]
        assert web != first and cloud.in_state(first, "terminated") and made["elastic_ip"] == elastic
        assert cloud.show(db)["PublicIpAddress"] == elastic
        assert until(lambda: answer_of(elastic), what="the Elastic IP answers")[0] == "db", "it has moved"
        assert until(lambda: answer_of(cloud.show(web)["PublicIpAddress"]), what="the web machine answers")[0] == "web-two"
        said = until(lambda: cloud.answer_inside(made["regrouped"], "10.20.1.10"), what="the group is its own now")
        assert said == ["db", cloud.show(made["regrouped"])["PrivateIpAddress"]], "one subnet reaches the other"

        terraform.destroy()
        assert [vpc["IsDefault"] for vpc in cloud.ec2.describe_vpcs()["Vpcs"]] == [True]
        assert not cloud.ec2.describe_addresses()["Addresses"] and not cloud.ec2.describe_key_pairs()["KeyPairs"]
        assert not cloud.ec2.describe_network_interfaces()["NetworkInterfaces"] and not cloud.ec2.describe_volumes()["Volumes"]
        for ident in (first, web, db, made["regrouped"], made["vpc"]):
            until(lambda ident=ident: not traces(ident), 5, f"nothing is left of {ident}")
