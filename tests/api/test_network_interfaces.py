"""Network interfaces of instances: their attributes, their groups, and the one that stays when its instance ends."""

import pytest

NOBODY = "00000000000000000"


@pytest.fixture
def instance(launch):
    return launch()[0]


@pytest.fixture
def eni(instance):
    return instance["NetworkInterfaces"][0]["NetworkInterfaceId"]


def ask(ec2, eni, attribute, member):
    answer = ec2.describe_network_interface_attribute(NetworkInterfaceId=eni, Attribute=attribute)
    assert answer["NetworkInterfaceId"] == eni
    return answer[member]


def test_an_attribute_is_described(ec2, instance, eni):
    assert ask(ec2, eni, "description", "Description") == {"Value": ""} and ask(ec2, eni, "sourceDestCheck", "SourceDestCheck") == {"Value": True}
    assert ask(ec2, eni, "groupSet", "Groups") == instance["SecurityGroups"]
    assert ask(ec2, eni, "attachment", "Attachment")["InstanceId"] == instance["InstanceId"]


def test_an_attribute_is_changed(ec2, instance, eni):
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, Description={"Value": "front"})
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, SourceDestCheck={"Value": False})
    [shown] = ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"]
    assert shown["Description"] == "front" and shown["SourceDestCheck"] is False
    ec2.reset_network_interface_attribute(NetworkInterfaceId=eni, SourceDestCheck="true")
    assert ask(ec2, eni, "sourceDestCheck", "SourceDestCheck") == {"Value": True}


def test_an_interface_changes_its_groups(ec2, instance, eni):
    a, b = (ec2.create_security_group(GroupName=name, Description="d")["GroupId"] for name in "ab")
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, Groups=[a, b, a])
    assert [g["GroupName"] for g in ask(ec2, eni, "groupSet", "Groups")] == ["a", "b"]
    [shown] = ec2.describe_instances(Filters=[{"Name": "instance.group-id", "Values": [b]}])["Reservations"][0]["Instances"]
    assert shown["InstanceId"] == instance["InstanceId"]


def test_changes_that_are_refused(ec2, instance, eni, fails):
    change = ec2.modify_network_interface_attribute
    fails("InvalidNetworkInterfaceID.NotFound", change, NetworkInterfaceId="eni-" + NOBODY, SourceDestCheck={"Value": True})
    fails("InvalidNetworkInterfaceId.Malformed", change, NetworkInterfaceId="x", SourceDestCheck={"Value": True})
    fails("InvalidParameterCombination", change, NetworkInterfaceId=eni)
    fails("InvalidParameterCombination", change, NetworkInterfaceId=eni, SourceDestCheck={"Value": True}, Description={"Value": "x"})
    fails("InvalidGroup.NotFound", change, NetworkInterfaceId=eni, Groups=["sg-" + NOBODY])
    other = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="g", Description="d", VpcId=other)["GroupId"]
    fails("InvalidParameter", change, NetworkInterfaceId=eni, Groups=[group])
    fails("InvalidAttachmentID.NotFound", change, NetworkInterfaceId=eni, Attachment={"AttachmentId": "eni-attach-" + NOBODY, "DeleteOnTermination": False})
    fails("MissingParameter", ec2.describe_network_interface_attribute, NetworkInterfaceId=eni)


def test_an_interface_that_is_to_stay_stays_and_is_deleted(ec2, instance, eni, fails):
    attachment = ask(ec2, eni, "attachment", "Attachment")["AttachmentId"]
    fails("InvalidParameterValue", ec2.delete_network_interface, NetworkInterfaceId=eni)
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, Attachment={"AttachmentId": attachment, "DeleteOnTermination": False})
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance["InstanceId"]])
    [shown] = ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"]
    assert shown["Status"] == "available" and "Attachment" not in shown and "Association" not in shown
    fails("DependencyViolation", ec2.delete_subnet, SubnetId=shown["SubnetId"])
    ec2.delete_network_interface(NetworkInterfaceId=eni)
    fails("InvalidNetworkInterfaceID.NotFound", ec2.describe_network_interfaces, NetworkInterfaceIds=[eni])
