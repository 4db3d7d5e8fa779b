"""What tests of the API share beside the fixtures of tests/conftest.py."""

import botocore.exceptions
import pytest


@pytest.fixture(scope="session")
def fails():
    """fails(code, call, **parameters): AWS's code is answered; the error's message."""

    def fails(code, call, **parameters):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            call(**parameters)
        error = caught.value.response["Error"]
        assert error["Code"] == code, error
        return error["Message"]

    return fails


@pytest.fixture(scope="session")
def image(server):
    """An x86_64 image of Amazon's with one root volume of 8 GiB, gp3."""
    images = server.client("ec2").describe_images(Owners=["amazon"], Filters=[{"Name": "name", "Values": ["al2023-ami-2023.*-x86_64"]}])
    return max(images["Images"], key=lambda image: image["CreationDate"])["ImageId"]


@pytest.fixture
def launch(ec2, image):
    """launch(**members): the instances of one RunInstances."""

    def launch(count=1, **members):
        base = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": count, "MaxCount": count}
        return ec2.run_instances(**base | members)["Instances"]

    return launch
