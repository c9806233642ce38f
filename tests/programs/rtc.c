/* rtc: a program that uses a real-time clock as the kernel's tools/testing/selftests/rtc does.
 *
 *     rtc NODE
 *
 * Prints: the date read, how many seconds it has seen begin, the alarms that went off, periods. The
 * clock may run faster than ours. */
#include <errno.h>
#include <fcntl.h>
#include <linux/rtc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 20000

static int fd;

static void need(const char *what, int ret)
{
    if (ret >= 0)
        return;
    perror(what);
    exit(1);
}

/* Waits in poll for what read then gives. */
static unsigned long wait_for(const char *what, unsigned long kind)
{
    struct pollfd file = { .fd = fd, .events = POLLIN };
    unsigned long data = 0;

    if (poll(&file, 1, WAIT_MS) != 1 || !(file.revents & POLLIN)) {
        fprintf(stderr, "%s: nothing within %d ms\n", what, WAIT_MS);
        exit(1);
    }
    need(what, (int)read(fd, &data, sizeof(data)));
    if (!(data & RTC_IRQF) || !(data & kind)) {
        fprintf(stderr, "%s: interrupts %#lx\n", what, data);
        exit(1);
    }
    return data >> 8;
}

static struct rtc_time in_seconds(int seconds)
{
    struct rtc_time read;
    struct tm now, then;
    time_t moment;

    need("RTC_RD_TIME", ioctl(fd, RTC_RD_TIME, &read));
    now = (struct tm){ read.tm_sec, read.tm_min, read.tm_hour, read.tm_mday, read.tm_mon,
                       read.tm_year };
    moment = timegm(&now) + seconds;
    gmtime_r(&moment, &then);
    return (struct rtc_time){ then.tm_sec, then.tm_min, then.tm_hour, then.tm_mday, then.tm_mon,
                              then.tm_year, -1, -1, -1 };
}

int main(int argc, char **argv)
{
    struct rtc_wkalrm alarm = { .enabled = 1 };
    struct rtc_time time;
    unsigned long data, seconds = 0, periods = 0, frequency = 0;

    if (argc != 2)
        return 2;
    need("open", fd = open(argv[1], O_RDONLY));
    if (open(argv[1], O_RDONLY) >= 0 || errno != EBUSY)
        return 3;
    need("RTC_RD_TIME", ioctl(fd, RTC_RD_TIME, &time));
    printf("%d-%d-%d wday %d yday %d, ", time.tm_year + 1900, time.tm_mon + 1, time.tm_mday,
           time.tm_wday, time.tm_yday);

    need("RTC_UIE_ON", ioctl(fd, RTC_UIE_ON, 0));
    while (seconds < 3)
        seconds += wait_for("update", RTC_UF);
    need("RTC_UIE_OFF", ioctl(fd, RTC_UIE_OFF, 0));
    printf("%s seconds, ", seconds >= 3 ? "3" : "too few");

    time = in_seconds(2);
    need("RTC_ALM_SET", ioctl(fd, RTC_ALM_SET, &time));
    need("RTC_AIE_ON", ioctl(fd, RTC_AIE_ON, 0));
    printf("alarm %lu, ", wait_for("alarm", RTC_AF));
    alarm.time = in_seconds(2);
    need("RTC_WKALM_SET", ioctl(fd, RTC_WKALM_SET, &alarm));
    printf("wake alarm %lu, ", wait_for("wake alarm", RTC_AF));
    need("RTC_WKALM_RD", ioctl(fd, RTC_WKALM_RD, &alarm));
    printf("%s, ", alarm.enabled ? "on" : "off");

    need("RTC_IRQP_SET", ioctl(fd, RTC_IRQP_SET, 64UL));
    need("RTC_IRQP_READ", ioctl(fd, RTC_IRQP_READ, &frequency));
    need("RTC_PIE_ON", ioctl(fd, RTC_PIE_ON, 0));
    while (periods < 10)
        periods += wait_for("period", RTC_PF);
    need("RTC_PIE_OFF", ioctl(fd, RTC_PIE_OFF, 0));
    printf("%lu Hz, ", frequency);

    need("O_NONBLOCK", fcntl(fd, F_SETFL, O_NONBLOCK));
    (void)read(fd, &data, sizeof(data)); /* a last period */
    printf("%s\n", read(fd, &data, sizeof(data)) < 0 ? strerror(errno) : "more");
    return 0;
}
