# A plain network with machines in it, as people write it: test_terraform.py applies, changes and destroys it.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "account" { type = string }
variable "boot" { type = string }
variable "public_key" { type = string }
variable "port" { type = number }
variable "stage" { type = string }
variable "with_db" { type = bool }

provider "aws" {
  region     = "us-east-1"
  access_key = var.account
  secret_key = "x"
  default_tags {
    tags = { Project = "haar" }
  }
}

data "aws_caller_identity" "me" {}

data "aws_availability_zones" "here" {
  state = "available"
}

data "aws_ami" "linux" {
  most_recent = true
  owners      = ["amazon"]
  filter {
    name   = "name"
    values = ["al2023-ami-2023.*-x86_64"]
  }
}

# --- network

resource "aws_vpc" "main" {
  cidr_block = "10.20.0.0/16"
  tags       = { Name = "main" }
}

# Of the same range: nothing of it meets the other.
resource "aws_vpc" "other" {
  cidr_block           = "10.20.0.0/16"
  enable_dns_hostnames = true
  tags                 = { Name = "other-${var.stage}" }
}

resource "aws_subnet" "front" {
  vpc_id                  = aws_vpc.main.id
  cidr_block              = "10.20.1.0/24"
  availability_zone       = data.aws_availability_zones.here.names[0]
  map_public_ip_on_launch = true
}

resource "aws_subnet" "back" {
  vpc_id            = aws_vpc.main.id
  cidr_block        = "10.20.2.0/24"
  availability_zone = data.aws_availability_zones.here.names[1]
  tags              = { Name = "back" }
}

resource "aws_internet_gateway" "gateway" {
  vpc_id = aws_vpc.main.id
}

resource "aws_route_table" "front" {
  vpc_id = aws_vpc.main.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.gateway.id
  }
}

resource "aws_route_table" "back" {
  vpc_id = aws_vpc.main.id
}

resource "aws_route" "back" {
  route_table_id         = aws_route_table.back.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.gateway.id
}

resource "aws_route_table_association" "front" {
  subnet_id      = aws_subnet.front.id
  route_table_id = aws_route_table.front.id
}

resource "aws_route_table_association" "back" {
  subnet_id      = aws_subnet.back.id
  route_table_id = aws_route_table.back.id
}

# --- security groups: rules inside one, and rules by themselves

resource "aws_security_group" "inside" {
  name        = "inside"
  description = "machines that trust each other"
  vpc_id      = aws_vpc.main.id
  ingress {
    protocol  = "-1"
    from_port = 0
    to_port   = 0
    self      = true
  }
  egress {
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "front" {
  name_prefix = "front-"
  vpc_id      = aws_vpc.main.id
}

resource "aws_vpc_security_group_ingress_rule" "web" {
  security_group_id = aws_security_group.front.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = var.port
  to_port           = var.port
  tags              = { Name = "web" }
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  security_group_id            = aws_security_group.front.id
  referenced_security_group_id = aws_security_group.inside.id
  ip_protocol                  = "tcp"
  from_port                    = 22
  to_port                      = 22
  description                  = "ssh ${var.stage}"
}

resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.front.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

resource "aws_security_group" "other" {
  name   = "other"
  vpc_id = aws_vpc.other.id
  ingress {
    description = "web ${var.stage}"
    protocol    = "tcp"
    from_port   = var.port
    to_port     = var.port
    cidr_blocks = ["0.0.0.0/0", "10.0.0.0/8"]
  }
}

# --- machines

resource "aws_key_pair" "me" {
  key_name   = "me"
  public_key = var.public_key
}

# Each stage has its own. The old one ends while the new one starts (Terraform waits ten seconds for either), as long as
# nothing changes that both depend on.
resource "aws_instance" "web" {
  for_each                    = toset([var.stage])
  ami                         = data.aws_ami.linux.id
  instance_type               = "t3.micro"
  subnet_id                   = aws_subnet.back.id
  associate_public_ip_address = true
  key_name                    = aws_key_pair.me.key_name
  vpc_security_group_ids      = [aws_security_group.inside.id, aws_security_group.front.id]
  user_data                   = replace(var.boot, "NAME", "web-${each.key}")
  tags                        = { Name = "web-${each.key}" }
  metadata_options {
    http_tokens = "required"
  }
  root_block_device {
    volume_size = 9
    volume_type = "gp3"
  }
  depends_on = [aws_internet_gateway.gateway]
}

resource "aws_instance" "db" {
  count                  = var.with_db ? 1 : 0
  ami                    = data.aws_ami.linux.id
  instance_type          = "t3.micro"
  subnet_id              = aws_subnet.front.id
  private_ip             = "10.20.1.10"
  vpc_security_group_ids = [aws_security_group.inside.id, aws_security_group.front.id]
  user_data              = replace(var.boot, "NAME", "db")
  depends_on             = [aws_internet_gateway.gateway]
}

# Its group changes while it runs.
resource "aws_instance" "regrouped" {
  ami                    = data.aws_ami.linux.id
  instance_type          = "t3.nano"
  subnet_id              = aws_subnet.back.id
  vpc_security_group_ids = [var.with_db ? aws_security_group.inside.id : aws_security_group.front.id]
  user_data              = replace(var.boot, "NAME", "regrouped")
}

resource "aws_eip" "moving" {
  domain = "vpc"
  tags   = { Name = "moving" }
}

resource "aws_eip_association" "moving" {
  allocation_id = aws_eip.moving.id
  instance_id   = var.with_db ? aws_instance.db[0].id : aws_instance.web[var.stage].id
}

output "vpc" { value = aws_vpc.main.id }
output "elastic_ip" { value = aws_eip.moving.public_ip }
output "web" { value = aws_instance.web[var.stage].id }
output "db" { value = one(aws_instance.db[*].id) }
output "regrouped" { value = aws_instance.regrouped.id }
output "account" { value = data.aws_caller_identity.me.account_id }
