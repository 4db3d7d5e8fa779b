/*
 * The frames of one exec, on a stream socket between whoever runs `haar exec` and the process that stands in for it
 * beside the machine. Each is a byte of kind, four bytes of length (little endian), and that many bytes. The first
 * two are between the driver and that process: EXEC_TAKEN, or EXEC_ERROR in its place, and then EXEC_COMMAND.
 */
#pragma once

enum exec_frame {
    EXEC_COMMAND = 'c', /* 1 byte tty, 2 rows, 2 columns (little endian), then the words, each ended by NUL */
    EXEC_STDIN = 'i',
    EXEC_STDIN_END = 'e',
    EXEC_WINDOW = 'w', /* 2 bytes rows, 2 columns, little endian */
    EXEC_SIGNAL = 'k', /* 1 byte: Linux signal number */

    EXEC_TAKEN = 't',  /* empty: the monitor has made the process that serves it */
    EXEC_STDOUT = 'o', /* with a terminal, all output */
    EXEC_STDERR = 'r',
    EXEC_STATUS = 'x', /* 1 byte, the last frame: the exit status; 128 + signal; 127 not found; 126 not executable */
    EXEC_ERROR = '!',  /* text, the last frame: it could not be started at all */
};

enum {
    EXEC_HEAD = 5,
    EXEC_DATA_MAX = 16 * 1024,     /* in a frame of data */
    EXEC_COMMAND_MAX = 128 * 1024, /* in EXEC_COMMAND */
    EXEC_WORDS_MAX = 1024,
    EXEC_SESSIONS_MAX = 64, /* at once in one machine */
};
