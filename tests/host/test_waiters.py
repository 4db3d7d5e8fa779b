"""The waiters of tests/api/test_waiters.py, with machines that boot."""

import pytest

needs = pytest.mark.needs
pytestmark = pytest.mark.usefixtures("no_second_poll")


@needs("DescribeImages", "RunInstances", "DescribeInstances", "DescribeInstanceStatus", "StopInstances", "StartInstances", "TerminateInstances")
def test_a_launch_of_machines_runs_at_its_first_poll(native_server, fresh_account):
    ec2 = native_server.client("ec2", account=fresh_account)
    images = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "name", "Values": ["al2023-ami-2023.*-x86_64"]}])
    answer = ec2.run_instances(ImageId=images["Images"][0]["ImageId"], InstanceType="t3.micro", MinCount=2, MaxCount=2)
    ids = [i["InstanceId"] for i in answer["Instances"]]
    try:
        for name in ("instance_exists", "instance_running", "instance_status_ok", "system_status_ok"):
            ec2.get_waiter(name).wait(InstanceIds=ids)
        ec2.stop_instances(InstanceIds=ids)
        ec2.get_waiter("instance_stopped").wait(InstanceIds=ids)
        ec2.start_instances(InstanceIds=ids)
        ec2.get_waiter("instance_running").wait(InstanceIds=ids)
    finally:
        ec2.terminate_instances(InstanceIds=ids)
        ec2.get_waiter("instance_terminated").wait(InstanceIds=ids)
