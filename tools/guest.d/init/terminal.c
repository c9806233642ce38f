/* The command's terminal: a serial line, whose other end is the terminal of the guest's user. */
#include "init.h"

#include <sys/ioctl.h>
#include <sys/ttydefaults.h>
#include <termios.h>

static void set_size(int terminal, const char *rows_and_columns)
{
    struct winsize size = {0};
    if (sscanf(rows_and_columns, "%hu %hu", &size.ws_row, &size.ws_col) == 2)
        ioctl(terminal, TIOCSWINSZ, &size); /* the kernel sends SIGWINCH where it changed */
}

int open_terminal(const char *rows_and_columns)
{
    struct termios settings;
    int terminal = open(in_qemu ? "/dev/ttyS1" : "/dev/ttyS0", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal < 0 || tcgetattr(terminal, &settings) < 0)
        die("opening the serial line");
    settings.c_iflag = TTYDEF_IFLAG | IUTF8;
    settings.c_oflag = TTYDEF_OFLAG | ONLCR;
    settings.c_lflag = TTYDEF_LFLAG;
    settings.c_cflag = CS8 | CREAD | CLOCAL | B115200;
    if (tcsetattr(terminal, TCSANOW, &settings) < 0)
        die("setting the serial line up");
    set_size(terminal, rows_and_columns);
    return terminal;
}

/* The user may have resized his terminal. */
void follow_size(void)
{
    static char last[64];
    char now[sizeof last] = "";
    int file = open("/run/guest/size", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    if (read(file, now, sizeof now - 1) > 0 && strcmp(now, last)) {
        memcpy(last, now, sizeof last);
        set_size(plan.terminal, now);
    }
    close(file);
}
