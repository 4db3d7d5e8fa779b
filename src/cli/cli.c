#include "cli/cli.h"

#include "cli/serve.h"

#include <stdio.h>

int cli_main(int argc, char **argv)
{
    return serve_main(argc - 1, argv + 1);
}
