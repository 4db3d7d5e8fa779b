/* The command line: haar serve · run · ps · logs · exec · reset · version. */
#pragma once

int cli_main(int argc, char **argv); /* the exit status */
