#!/usr/bin/env python3
"""Writes the catalogue's C tables from models/: tools/gen-catalogue.py MODELS OUTPUT.c

The tables are numbers and one pool of texts, so that they need no relocation and no work at start; what the fields
mean stands in src/services/ec2/catalogue/*.h.
"""

import calendar
import hashlib
import json
import pathlib
import re
import sys

# Regions that the records of offerings lack offer what the smallest of the newer regions does.
OFFERS_LIKE = "caw1"
TWO_YEARS = 2 * 365 * 86400


class Pool:
    """Every text once; 0 is absent."""

    def __init__(self):
        self.bytes = bytearray(b"\0\0")
        self.places = {"": 0}

    def place(self, text):
        if text not in self.places:
            raw = text.encode()
            assert len(raw) < 256, text
            self.places[text] = len(self.bytes)
            self.bytes += bytes([len(raw)]) + raw + b"\0"
        return self.places[text]


class Numbers:
    """Every list once, end to end."""

    def __init__(self):
        self.numbers = [0]
        self.lists = {(): (0, 0)}

    def list(self, values):
        values = tuple(values)
        if values not in self.lists:
            self.lists[values] = (len(self.numbers), len(values))
            self.numbers += values
        return Raw("{%d, %d}" % self.lists[values])


class Raw(str):
    """C as it stands."""


pool, numbers = Pool(), Numbers()


def texts(value):
    return numbers.list(pool.place(item) for item in value.split(",") if item)


def c(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f".{k} = {c(v)}" for k, v in value.items() if v not in (0, "{0, 0}")) + "}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def array(declaration, rows):
    return f"const {declaration} = {{\n" + "".join(f"    {c(row)},\n" for row in rows) + "};\n"


def number_list(text):
    """What refresh-catalogue.py writes: 1,2,4-96/2"""
    found = []
    for part in filter(None, text.split(",")):
        run = re.fullmatch(r"(\d+)(?:-(\d+)(?:/(\d+))?)?", part)
        first = int(run[1])
        found += range(first, int(run[2] or first) + 1, int(run[3] or 1))
    return numbers.list(found)


def integer(text, absent=0):
    return int(text) if text else absent


def scaled(text, factor):
    value = round(float(text or 0) * factor, 6)
    assert value == int(value), text
    return int(value)


# --- instance types ------------------------------------------------------------------------------------------------

FLAGS = """current-generation free-tier bare-metal burstable dedicated-hosts hibernation auto-recovery instance-storage
    nitro-enclaves nitro-tpm phc reboot-migration ipv6 efa ena-srd encryption-in-transit flexible-ena-queues
    secondary-network""".split()
KINDS = ["gpu", "inference", "fpga", "neuron", "media"]


def ebs(text):
    if not text:
        return {}
    fields = (text.split(":") + ["", ""])[:6]
    baseline, iops, most, most_iops = map(int, fields[:4])
    return {
        "baseline_mbps": baseline,
        "baseline_iops": iops,
        "max_mbps": most,
        "max_iops": most_iops,
        "baseline_throughput": scaled(fields[4] or str(baseline / 8), 10000),
        "max_throughput": scaled(fields[5] or str(most / 8), 10000),
    }


def network_card(text):
    index, performance, interfaces, baseline, peak, queues, most_queues, most_per_interface, more = text.split(":")
    return {
        "performance": pool.place(performance),
        "baseline_mbps": scaled(baseline, 1000),
        "peak_mbps": scaled(peak, 1000),
        "default_ena_queues": integer(queues),
        "max_ena_queues": integer(most_queues),
        "max_ena_queues_per_interface": integer(most_per_interface),
        "additional_interfaces": integer(more, -1),
        "index": int(index),
        "max_interfaces": int(interfaces),
    }


def device(kind, text):
    count, maker, name, memory, total, logical, partition, cores, version, workloads = text.split(":")
    return {
        "kind": Raw(f"INSTANCE_{kind.upper()}"),
        "manufacturer": pool.place(maker),
        "name": pool.place(name),
        "memory_mib": int(memory),
        "total_memory_mib": int(total),
        "count": int(count),
        "logical_count": integer(logical),
        "partition_permille": scaled(partition, 1000),
        "cores": integer(cores),
        "core_version": integer(version),
        "workloads": texts(workloads),
    }


def storage(row):
    if not row["disks"]:
        return {}
    count, size, kind = row["disks"].split(":")
    return {
        "type": pool.place(kind),
        "nvme": pool.place(row["disk-nvme"]),
        "encryption": pool.place(row["disk-encryption"]),
        "disk_gb": int(size),
        "total_gb": int(row["disk-total-gb"]),
        "disks": int(count),
    }


def instance_type(row, cards, ebs_cards, devices):
    flags = row["flags"].split(",")
    own_cards = [network_card(card) for card in row["cards"].split("|")]
    own_ebs_cards = [
        {"index": int(index), "ebs": ebs(rest)}
        for index, rest in (card.split(":", 1) for card in row["ebs-cards"].split("|") if card)
    ]
    own_devices = [device(kind, row[kind]) for kind in KINDS if row[kind]]
    record = {
        "name": pool.place(row["type"]),
        "hypervisor": pool.place(row["hypervisor"]),
        "manufacturer": pool.place(row["maker"]),
        "memory_mib": int(row["memory-mib"]),
        "vcpus": int(row["vcpus"]),
        "cores": int(row["cores"]),
        "clock_mhz": scaled(row["ghz"], 1000),
        "threads_per_core": int(row["threads"]),
        **{flag.replace("-", "_"): True for flag in FLAGS if flag in flags},
        "valid_cores": number_list(row["valid-cores"]),
        "valid_threads_per_core": number_list(row["valid-threads"]),
        "architectures": texts(row["architectures"]),
        "cpu_features": texts(row["features"]),
        "usage_classes": texts(row["usage"]),
        "root_device_types": texts(row["roots"]),
        "virtualization_types": texts(row["virtualization"]),
        "boot_modes": texts(row["boot"]),
        "placement_strategies": texts(row["placement"]),
        "tpm_versions": texts(row["tpm"]),
        "network": {
            "performance": pool.place(row["network"]),
            "ena": pool.place(row["ena"]),
            "tcp_established_timeout": int(row["tcp-timeout"]),
            "max_interfaces": int(row["interfaces"]),
            "ipv4_per_interface": int(row["ipv4"]),
            "ipv6_per_interface": int(row["ipv6"]),
            "max_efa_interfaces": integer(row["efa-interfaces"]),
            "ipv4_per_secondary": integer(row["ipv4-secondary"], -1),
            "first_card": len(cards),
            "card_count": len(own_cards),
            "bandwidth_weightings": texts(row["bandwidth"]),
        },
        "ebs": {
            "optimized": pool.place(row["ebs-optimized"]),
            "nvme": pool.place(row["ebs-nvme"]),
            "limit": pool.place(row["ebs-limit"]),
            "max_attachments": int(row["ebs-attachments"]),
            "first_card": len(ebs_cards),
            "card_count": len(own_ebs_cards),
            "info": ebs(row["ebs"]),
        },
        "storage": storage(row),
        "first_device": len(devices),
        "device_count": len(own_devices),
    }
    cards += own_cards
    ebs_cards += own_ebs_cards
    devices += own_devices
    return record


def types_of(models):
    """The C of the types, and their names in order."""
    lines = (models / "instance-types.tsv").read_text().splitlines()
    columns = lines[0].split("\t")
    rows = [dict(zip(columns, line.split("\t"), strict=True)) for line in lines[1:]]
    cards, ebs_cards, devices = [], [], []
    records = [instance_type(row, cards, ebs_cards, devices) for row in rows]
    out = array("struct instance_type catalogue_types[]", records)
    out += f"const size_t catalogue_type_count = {len(records)};\n"
    out += array("struct instance_network_card catalogue_network_cards[]", cards)
    out += array("struct instance_ebs_card catalogue_ebs_cards[]", ebs_cards)
    out += array("struct instance_device catalogue_devices[]", devices)
    return out, [row["type"] for row in rows]


# --- regions, zones, offers ----------------------------------------------------------------------------------------


def regions_of(models):
    """The C of regions and zones, the regions' names and the zones' ids, both in order."""
    records, zones, ids = [], [], []
    regions = dict(sorted(json.loads((models / "regions.json").read_text()).items()))
    for name, facts in regions.items():
        records.append(
            {
                "name": pool.place(name),
                "long_name": pool.place(facts["name"]),
                "endpoint": pool.place(facts["endpoint"]),
                "partition": pool.place(facts["partition"]),
                "group": pool.place(f"{name}-zg-1"),
                "group_long_name": pool.place(f"{facts['name']} 1"),
                "first_zone": len(zones),
                "zone_count": len(facts["zones"]),
                "opt_in": facts["opt-in"],
            }
        )
        for zone, zone_id in facts["zones"].items():
            zones.append({"name": pool.place(zone), "id": pool.place(zone_id), "region": len(records) - 1})
            ids.append(zone_id)
    out = array("struct region catalogue_regions[]", records)
    out += f"const size_t catalogue_region_count = {len(records)};\n"
    out += array("struct zone catalogue_zones[]", zones)
    out += f"const size_t catalogue_zone_count = {len(zones)};\n"
    return out, list(regions), ids


def offers_of(models, type_names, zone_ids):
    offered = {}
    for line in (models / "offerings.tsv").read_text().splitlines():
        where, names = line.split("\t")
        for group in where.split(" "):
            prefix, digits = group.split(":")
            for digit in digits:
                offered.setdefault(f"{prefix}-az{digit}", set()).update(names.split(" "))

    recorded = {zone.rsplit("-az", 1)[0] for zone in offered}
    bits = {name: i for i, name in enumerate(type_names)}
    out = []
    for number, zone in enumerate(zone_ids):
        prefix = zone.rsplit("-az", 1)[0]
        same = [z for z in zone_ids if z.startswith(prefix + "-az")].index(zone) + 1
        row = bytearray((len(bits) + 7) // 8)
        for name in offered[zone] if prefix in recorded else offered[f"{OFFERS_LIKE}-az{same}"]:
            if name in bits:
                row[bits[name] // 8] |= 1 << bits[name] % 8
        out.append(",".join(map(str, row)))
    text = "const uint8_t catalogue_offers[] = {\n" + "".join(f"    {row},\n" for row in out) + "};\n"
    return text + f"const size_t catalogue_offer_bytes = {(len(bits) + 7) // 8};\n"


# --- images --------------------------------------------------------------------------------------------------------


def day_of(name):
    """The day that a release's name carries, as seconds since 1970; 0 when it has none."""
    found = re.search(r"(20\d\d)[.-]?(0[1-9]|1[0-2])[.-]?([0-2]\d|3[01])(?!\d)", name)
    return calendar.timegm((int(found[1]), int(found[2]), int(found[3]), 0, 0, 0)) if found else 0


def image(name, owner, owners, arch, **facts):
    record = {
        "name": pool.place(name),
        "description": pool.place(facts["description"]),
        "owner_id": pool.place(owner),
        "owner_alias": pool.place(owners[owner]),
        "architecture": pool.place(arch),
        "virtualization": pool.place(facts.get("virtualization", "hvm")),
        "platform": pool.place(facts.get("platform", "")),
        "platform_details": pool.place(facts.get("details", "Linux/UNIX")),
        "usage_operation": pool.place(facts.get("operation", "RunInstances")),
        "boot_mode": pool.place("uefi" if arch == "arm64" else facts.get("boot", "")),
        "imds_support": pool.place(facts.get("imds", "")),
        "root_device_type": pool.place(facts.get("root_type", "ebs")),
        "root_device": pool.place(facts["root"]),
        "volume_type": pool.place(facts["volume"]),
        "created": facts["created"],
        "deprecated": facts.get("deprecated", 0),
        "volume_gib": facts["size"],
        "ephemeral": facts.get("ephemeral", 0),
        "short_id": facts.get("short", False),
    }
    return record


def fill(pattern, release, arch, spelling):
    slash = "" if arch == "x86_64" else f"/{spelling}"
    return pattern.replace("{release}", release).replace("{/arch}", slash).replace("{arch}", spelling)


def family_images(families, owners, aliases):
    """Records and names of all families; notes in `aliases` which image each of their parameters means."""
    records, names = [], []
    for family in families:
        for release in family["releases"]:
            for arch, spelling in family["arches"].items():
                name = fill(family["name"], release, arch, spelling)
                described = family.get(f"description-{arch}", family["description"])
                created = day_of(name) + 60 * family.get("minute", 0)
                assert day_of(name), name
                facts = family | {"description": fill(described, release, arch, spelling), "created": created}
                facts |= {"deprecated": created + TWO_YEARS}
                for alias in family.get("aliases", []):
                    aliases.setdefault(fill(alias, release, arch, spelling), len(records))
                own = {k: v for k, v in facts.items() if k not in ("name", "owner")}
                records.append(image(name, facts["owner"], owners, arch, **own))
                names.append(name)
    return records, names


# What AWS bills an image for, by what its name says. Source: EC2 user guide, "AMI billing information fields".
BILLED = [
    (r"SQL_\d+(_SP\d)?_Enterprise", "Windows with SQL Server Enterprise", "RunInstances:0102"),
    (r"SQL_\d+(_SP\d)?_Standard", "Windows with SQL Server Standard", "RunInstances:0006"),
    (r"SQL_\d+(_SP\d)?_Web", "Windows with SQL Server Web", "RunInstances:0202"),
    (r"^Windows", "Windows", "RunInstances:0002"),
    (r"^RHEL", "Red Hat Enterprise Linux", "RunInstances:0010"),
    (r"^suse", "SUSE Linux", "RunInstances:000g"),
]


def fixed_image(facts, owners):
    name = facts["name"]
    details, operation = next((b[1:] for b in BILLED if re.search(b[0], name)), ("Linux/UNIX", "RunInstances"))
    windows = details.startswith("Windows")
    return image(
        name,
        facts["owner_id"],
        owners,
        facts["architecture"],
        description=facts["description"],
        virtualization=facts["virtualization_type"],
        platform="windows" if windows else "",
        details=details,
        operation=operation,
        root=facts["root_device_name"],
        root_type=facts["root_device_type"],
        volume="gp2",
        size=30 if windows else 8,
        created=day_of(name) or day_of("20171013"),
        short=len(facts["id"]) == 12,
    )


def regional_id(name, region, known):
    if region in known.get(name, {}):
        return int(known[name][region].removeprefix("ami-"), 16)
    return int(hashlib.sha256(f"{region} {name}".encode()).hexdigest()[:16], 16)


def images_of(models, region_names):
    catalogue = json.loads((models / "images.json").read_text())
    fixed = json.loads((models / "images-fixed.json").read_text())
    known = json.loads((models / "image-ids.json").read_text())
    owners, aliases = catalogue["owners"], {}

    records, names = family_images(catalogue["families"], owners, aliases)
    regional = len(records)
    records += [fixed_image(facts, owners) for facts in fixed]

    out = array("struct image catalogue_images[]", records)
    out += f"const size_t catalogue_image_count = {len(records)}, catalogue_regional_count = {regional};\n"
    ids = [Raw(f"0x{regional_id(n, region, known):x}") for region in region_names for n in names]
    out += array("uint64_t catalogue_regional_ids[]", ids)
    out += array("uint64_t catalogue_fixed_ids[]", [Raw("0x" + f["id"].removeprefix("ami-").lstrip("0")) for f in fixed])
    rows = [{"name": pool.place(name), "image": number} for name, number in sorted(aliases.items())]
    out += array("struct catalogue_alias catalogue_aliases[]", rows)
    return out + f"const size_t catalogue_alias_count = {len(rows)};\n"


# --- all -----------------------------------------------------------------------------------------------------------


def pool_literal():
    """As string literals: an octal escape for what is not plain, so that no digit behind it joins in."""
    lines = []
    for start in range(0, len(pool.bytes), 80):
        plain = (chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in pool.bytes[start : start + 80])
        lines.append(f'    "{"".join(plain)}"\n')
    return "const char catalogue_texts[] =\n" + "".join(lines) + ";\n"


def main():
    models, output = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    regions, region_names, zone_ids = regions_of(models)
    types, type_names = types_of(models)
    parts = [
        "/* Written by tools/gen-catalogue.py from models/. */\n",
        '#include "services/ec2/catalogue/tables.h"\n',
        regions,
        types,
        offers_of(models, type_names, zone_ids),
        images_of(models, region_names),
        array("uint32_t catalogue_numbers[]", numbers.numbers),
        pool_literal(),
    ]
    output.write_text("\n".join(parts))


if __name__ == "__main__":
    main()
