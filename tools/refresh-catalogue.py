#!/usr/bin/env python3
"""Writes the records of instance types, offerings, zones and images in models/ from a pinned moto and botocore.

    tools/refresh-catalogue.py [--check] moto botocore

Both are wheels or folders of site-packages. Every member that moto records is kept, or the script stops: a new one
needs a column here and a field in src/services/ec2/catalogue. --check writes nothing and fails on a difference.
"""

import argparse
import ast
import gzip
import hashlib
import json
import pathlib
import re
import zipfile

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"

# Regions that are on in every account; AWS's account guide, "Enable or disable AWS Regions in your account".
ALWAYS_ON = """us-east-1 us-east-2 us-west-1 us-west-2 ap-south-1 ap-northeast-1 ap-northeast-2 ap-northeast-3
    ap-southeast-1 ap-southeast-2 ca-central-1 eu-central-1 eu-north-1 eu-west-1 eu-west-2 eu-west-3 sa-east-1""".split()
PARTITIONS = ("aws", "aws-cn", "aws-us-gov")


class Package:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.wheel = zipfile.ZipFile(self.path) if self.path.is_file() else None
        self.read = {}

    def bytes(self, name):
        self.read[name] = self.wheel.read(name) if self.wheel else (self.path / name).read_bytes()
        return self.read[name]

    def origin(self, package):
        """Which package this is, and one digest over all that was read of it."""
        version = re.search(r"""__version__ = ["']([^"']+)""", self.bytes(f"{package}/__init__.py").decode())[1]
        digest = hashlib.sha256()
        for name, content in sorted(self.read.items()):
            digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
        return {"package": package, "version": version, "licence": "Apache-2.0", "sha256": digest.hexdigest()}

    def json(self, name):
        raw = self.bytes(name)
        return json.loads(gzip.decompress(raw) if name.endswith(".gz") else raw)

    def names(self, folder):
        if self.wheel:
            return sorted(n for n in self.wheel.namelist() if n.startswith(folder + "/"))
        return sorted(str(p.relative_to(self.path)) for p in (self.path / folder).rglob("*") if p.is_file())


# --- instance types ------------------------------------------------------------------------------------------------

FLAGS = {
    "current-generation": "CurrentGeneration",
    "free-tier": "FreeTierEligible",
    "bare-metal": "BareMetal",
    "burstable": "BurstablePerformanceSupported",
    "dedicated-hosts": "DedicatedHostsSupported",
    "hibernation": "HibernationSupported",
    "auto-recovery": "AutoRecoverySupported",
    "instance-storage": "InstanceStorageSupported",
    "nitro-enclaves": "NitroEnclavesSupport",
    "nitro-tpm": "NitroTpmSupport",
    "phc": "PhcSupport",
    "reboot-migration": "RebootMigrationSupport",
    "ipv6": "NetworkInfo.Ipv6Supported",
    "efa": "NetworkInfo.EfaSupported",
    "ena-srd": "NetworkInfo.EnaSrdSupported",
    "encryption-in-transit": "NetworkInfo.EncryptionInTransitSupported",
    "flexible-ena-queues": "NetworkInfo.FlexibleEnaQueuesSupport",
    "secondary-network": "NetworkInfo.SecondaryNetworkSupported",
}
LISTS = {
    "architectures": "ProcessorInfo.SupportedArchitectures",
    "features": "ProcessorInfo.SupportedFeatures",
    "usage": "SupportedUsageClasses",
    "roots": "SupportedRootDeviceTypes",
    "virtualization": "SupportedVirtualizationTypes",
    "boot": "SupportedBootModes",
    "placement": "PlacementGroupInfo.SupportedStrategies",
    "tpm": "NitroTpmInfo.SupportedVersions",
    "bandwidth": "NetworkInfo.BandwidthWeightings",
}
PLAIN = {
    "hypervisor": "Hypervisor",
    "maker": "ProcessorInfo.Manufacturer",
    "ghz": "ProcessorInfo.SustainedClockSpeedInGhz",
    "vcpus": "VCpuInfo.DefaultVCpus",
    "cores": "VCpuInfo.DefaultCores",
    "threads": "VCpuInfo.DefaultThreadsPerCore",
    "memory-mib": "MemoryInfo.SizeInMiB",
    "network": "NetworkInfo.NetworkPerformance",
    "interfaces": "NetworkInfo.MaximumNetworkInterfaces",
    "ipv4": "NetworkInfo.Ipv4AddressesPerInterface",
    "ipv6": "NetworkInfo.Ipv6AddressesPerInterface",
    "ipv4-secondary": "NetworkInfo.Ipv4AddressesPerSecondaryInterface",
    "ena": "NetworkInfo.EnaSupport",
    "efa-interfaces": "NetworkInfo.EfaInfo.MaximumEfaInterfaces",
    "tcp-timeout": "NetworkInfo.ConnectionTrackingConfiguration.DefaultTcpEstablishedTimeout",
    "ebs-optimized": "EbsInfo.EbsOptimizedSupport",
    "ebs-nvme": "EbsInfo.NvmeSupport",
    "ebs-limit": "EbsInfo.AttachmentLimitType",
    "ebs-attachments": "EbsInfo.MaximumEbsAttachments",
    "disk-encryption": "InstanceStorageInfo.EncryptionSupport",
    "disk-nvme": "InstanceStorageInfo.NvmeSupport",
}
# The same for all 1,263: checked here, written once in the reader.
CONSTANT = {
    "EbsInfo.EncryptionSupport": "supported",
    "NetworkInfo.DefaultNetworkCardIndex": 0,
    "NetworkInfo.ConnectionTrackingConfiguration.DefaultUdpStreamTimeout": 180,
    "NetworkInfo.ConnectionTrackingConfiguration.DefaultUdpTimeout": 30,
}
EBS = ("BaselineBandwidthInMbps", "BaselineIops", "MaximumBandwidthInMbps", "MaximumIops")
CARD = (
    "NetworkCardIndex",
    "NetworkPerformance",
    "MaximumNetworkInterfaces",
    "BaselineBandwidthInGbps",
    "PeakBandwidthInGbps",
    "DefaultEnaQueueCountPerInterface",
    "MaximumEnaQueueCount",
    "MaximumEnaQueueCountPerInterface",
    "AdditionalFlexibleNetworkInterfaces",
)
DEVICES = {
    "gpu": ("GpuInfo", "Gpus", "TotalGpuMemoryInMiB"),
    "inference": ("InferenceAcceleratorInfo", "Accelerators", "TotalInferenceMemoryInMiB"),
    "fpga": ("FpgaInfo", "Fpgas", "TotalFpgaMemoryInMiB"),
    "neuron": ("NeuronInfo", "NeuronDevices", "TotalNeuronDeviceMemoryInMiB"),
    "media": ("MediaAcceleratorInfo", "Accelerators", "TotalMediaMemoryInMiB"),
}
COLUMNS = (
    ["type"] + list(PLAIN) + ["flags"] + list(LISTS) + ["valid-cores", "valid-threads", "ebs", "ebs-cards", "cards"]
    + ["disks", "disk-total-gb"] + list(DEVICES)
)


def take(record, path):
    """Removes and returns what stands at a dotted path; None when nothing does."""
    *parents, last = path.split(".")
    for parent in parents:
        record = record.get(parent, {})
    return record.pop(last, None)


def text(value):
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def ranges(numbers):
    """1,2,4-96/2: runs of an equal step, as a-b or a-b/step."""
    out, i = [], 0
    while i < len(numbers):
        step = numbers[i + 1] - numbers[i] if i + 1 < len(numbers) else 0
        end = i
        while step > 0 and end + 1 < len(numbers) and numbers[end + 1] - numbers[end] == step:
            end += 1
        if end - i >= 2:
            out.append(f"{numbers[i]}-{numbers[end]}" + (f"/{step}" if step > 1 else ""))
            i = end + 1
        else:
            out.append(str(numbers[i]))
            i += 1
    return ",".join(out)


def ebs(info):
    """Bandwidths and rates, then the throughputs in MB/s; these are empty where they are the bandwidth's eighth."""
    throughputs = []
    for name in ("Baseline", "Maximum"):
        throughput = round(take(info, f"{name}ThroughputInMBps"), 4)
        throughputs.append("" if throughput == info[f"{name}BandwidthInMbps"] / 8 else str(throughput))
    return ":".join([text(take(info, name)) for name in EBS] + throughputs).rstrip(":")


def device(kind, record):
    info, devices, total = DEVICES[kind]
    if info not in record:
        return ""
    (one,) = take(record, f"{info}.{devices}")
    fields = [take(one, "Count"), take(one, "Manufacturer"), take(one, "Name"), take(one, "MemoryInfo.SizeInMiB")]
    fields += [take(record, f"{info}.{total}")]
    fields += [take(one, "LogicalGpuCount"), take(one, "GpuPartitionSize")]
    fields += [take(one, "CoreInfo.Count"), take(one, "CoreInfo.Version")]
    workloads = take(one, "Workloads") or []
    assert empty(one), (kind, one)
    return ":".join([text(f) for f in fields] + [",".join(workloads)])


def empty(value):
    if isinstance(value, dict):
        return all(empty(v) for v in value.values())
    return isinstance(value, list) and not value


def on(value):
    assert value in (True, False, "supported", "unsupported"), value
    return value in (True, "supported")


def type_row(record):
    row = {"type": take(record, "InstanceType")}
    for path, value in CONSTANT.items():
        assert take(record, path) == value, path
    row |= {column: text(take(record, path)) for column, path in PLAIN.items()}
    row["flags"] = ",".join(flag for flag, path in FLAGS.items() if on(take(record, path)))
    row |= {column: ",".join(take(record, path) or []) for column, path in LISTS.items()}
    row["valid-cores"] = ranges(take(record, "VCpuInfo.ValidCores") or [])
    row["valid-threads"] = ranges(take(record, "VCpuInfo.ValidThreadsPerCore") or [])

    row["ebs"] = ebs(record["EbsInfo"]["EbsOptimizedInfo"]) if "EbsOptimizedInfo" in record["EbsInfo"] else ""
    cards = take(record, "EbsInfo.EbsCards") or []
    assert (take(record, "EbsInfo.MaximumEbsCards") or 0) == len(cards)
    row["ebs-cards"] = "|".join(f"{take(card, 'EbsCardIndex')}:{ebs(card)}" for card in cards)
    assert empty(cards) or all(empty(c) for c in cards)

    cards = take(record, "NetworkInfo.NetworkCards")
    assert take(record, "NetworkInfo.MaximumNetworkCards") == len(cards)
    row["cards"] = "|".join(":".join(text(take(card, name)) for name in CARD) for card in cards)
    assert all(empty(c) for c in cards), cards

    disks = take(record, "InstanceStorageInfo.Disks") or []
    row["disks"] = "|".join(f"{take(d, 'Count')}:{take(d, 'SizeInGB')}:{take(d, 'Type')}" for d in disks)
    row["disk-total-gb"] = text(take(record, "InstanceStorageInfo.TotalSizeInGB"))
    row |= {kind: device(kind, record) for kind in DEVICES}
    assert empty(record), record
    return row


def instance_types(moto):
    records = moto.json("moto/ec2/resources/instance_types.json.gz")
    rows = [type_row(records[name]) for name in sorted(records)]
    return "\n".join("\t".join(row[c] for c in COLUMNS) for row in [{c: c for c in COLUMNS}, *rows]) + "\n"


# --- regions, zones and what they offer ----------------------------------------------------------------------------


def zones_of_moto(moto):
    """{region: {zone: zone id}} as the table in moto's source says, read without running it."""
    tree = ast.parse(moto.bytes("moto/ec2/models/availability_zones_and_regions.py"))
    found = {}
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Zone"):
            continue
        args = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
        if {"region_name", "name", "zone_id"} <= args.keys():
            found.setdefault(args["region_name"], {})[args["name"]] = args["zone_id"]
    return found


def offered(moto, location):
    """{region: {location: types}}"""
    found = {}
    for name in moto.names(f"moto/ec2/resources/instance_type_offerings/{location}"):
        if name.endswith(".json.gz"):
            region = found.setdefault(pathlib.Path(name).name.removesuffix(".json.gz"), {})
            for record in moto.json(name):
                region.setdefault(record["Location"], set()).add(record["InstanceType"])
    return found


def zones(region, ids, named, by_name, by_id):
    """{zone: zone id}. Accounts differ; moto's table first, then what its offerings show, then a, b, c in order."""
    if region in named:
        return dict(sorted(named[region].items()))
    names = sorted(by_name.get(region, {})) or [region + letter for letter in "abcdef"[: len(ids)]]
    left, found = list(ids), {}
    for name in names:
        same = [i for i in left if by_id.get(region, {}).get(i) == by_name.get(region, {}).get(name)]
        found[name] = same[0] if same else left[0]
        left.remove(found[name])
    return found


def regions(moto, botocore):
    named, by_name, by_id = zones_of_moto(moto), offered(moto, "availability-zone"), offered(moto, "availability-zone-id")
    infrastructure = moto.json("moto/ssm/resources/regions.json.gz")["aws"]["service"]["global-infrastructure"]["regions"]
    found = {}
    for partition in botocore.json("botocore/data/endpoints.json")["partitions"]:
        for name, facts in sorted(partition["regions"].items()):
            if partition["partition"] not in PARTITIONS:
                continue
            ids = [i for i in infrastructure[name]["availability-zones"]]
            found[name] = {
                "name": facts["description"],
                "partition": partition["partition"],
                "endpoint": f"ec2.{name}.{partition['dnsSuffix']}",
                "opt-in": partition["partition"] == "aws" and name not in ALWAYS_ON,
                "zones": zones(name, ids, named, by_name, by_id),
            }
    return found


def offerings(moto):
    """A line for each set of zones: the zones by id, as prefix:numbers, then the types that exactly they offer."""
    where = {}
    for region in offered(moto, "availability-zone-id").values():
        for zone, types in region.items():
            for name in types:
                where.setdefault(name, []).append(zone)
    groups = {}
    for name, zone_ids in sorted(where.items()):
        groups.setdefault(tuple(sorted(zone_ids)), []).append(name)
    lines = []
    for zone_ids, names in groups.items():
        numbers = {}
        for zone in zone_ids:
            prefix, number = zone.rsplit("-az", 1)
            numbers.setdefault(prefix, []).append(number)
        lines.append(" ".join(f"{p}:{''.join(n)}" for p, n in numbers.items()) + "\t" + " ".join(names))
    return "\n".join(sorted(lines)) + "\n"


# --- images --------------------------------------------------------------------------------------------------------

ID = re.compile(r"ami-([0-9a-f]{8}|[0-9a-f]{17})$")


def fixed_images(moto):
    """The images that moto has under one id in every region; without the few whose ids are not of AWS's form."""
    lines, names = [], ("name", "owner_id", "architecture", "root_device_name", "root_device_type", "virtualization_type")
    for image in sorted(moto.json("moto/ec2/resources/amis.json.gz"), key=lambda i: i["ami_id"]):
        if not ID.match(image["ami_id"]):
            continue
        row = {"id": image["ami_id"]} | {name: image[name] for name in names}
        row["description"] = image["description"]
        lines.append(json.dumps(row))
    return "[\n" + ",\n".join(lines) + "\n]\n"


def image_ids(moto):
    """{name: {region: id}} of the newest Amazon Linux 2 and 2023 images and of the newest of each kind for ECS."""
    found = {}
    for folder in ("latest_amis", "ecs/optimized_amis"):
        for name in moto.names(f"moto/ec2/resources/{folder}"):
            region = pathlib.Path(name).name.removesuffix(".json.gz")
            for image in moto.json(name) if name.endswith(".json.gz") else []:
                if not image["name"].startswith(("al2023-", "amzn2-", "amzn-ami-hvm-")):
                    continue
                found.setdefault(image["name"], {})[region] = image["ami_id"]
    newest = {}
    for name in found:
        kind = re.sub(r"20\d{6}", "*", name)
        newest[kind] = max(newest.get(kind, ""), name)
    lines = [f"{json.dumps(name)}:{json.dumps(found[name], separators=(',', ':'))}" for name in sorted(newest.values())]
    return "{\n" + ",\n".join(lines) + "\n}\n"


# --- all -----------------------------------------------------------------------------------------------------------


def one_a_line(value):
    return "{\n" + ",\n".join(f"{json.dumps(k)}:{json.dumps(v, ensure_ascii=False)}" for k, v in value.items()) + "\n}\n"


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--check", action="store_true")
    options.add_argument("moto")
    options.add_argument("botocore")
    chosen = options.parse_args()

    moto, botocore = Package(chosen.moto), Package(chosen.botocore)
    files = {
        "instance-types.tsv": instance_types(moto),
        "offerings.tsv": offerings(moto),
        "regions.json": one_a_line(regions(moto, botocore)),
        "image-ids.json": image_ids(moto),
        "images-fixed.json": fixed_images(moto),
    }
    files["catalogue-origin.json"] = json.dumps([moto.origin("moto"), botocore.origin("botocore")], indent=1) + "\n"
    stale = [n for n, t in files.items() if not (MODELS / n).exists() or (MODELS / n).read_text() != t]
    if chosen.check and stale:
        raise SystemExit(f"not what moto gives: {', '.join(stale)}")
    if not chosen.check:
        for name, content in files.items():
            (MODELS / name).write_text(content)


if __name__ == "__main__":
    main()
