/* EC2 in this folder: what its operations share. */
#pragma once

#include "aws/arn.h"
#include "ec2.h" /* generated */
#include "errors.h"
#include "operation/call.h"
#include "operation/tags.h"
