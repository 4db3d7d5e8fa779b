/* `haar serve`: wires store, operations, backend and HTTP to one loop, and runs it. */
#pragma once

int serve_main(int argc, char **argv); /* behind the command's name; the exit status */
