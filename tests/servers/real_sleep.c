/* libfaketime 0.9.10 adds its offset to absolute times on the monotonic clock even where it is told to leave that clock
   alone: time.sleep of Python then fails or never ends, and so does an absolute timer of the simulated meters in C.
   Loaded before it, these wait as the kernel does. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *request, struct timespec *left)
{
    return syscall(SYS_clock_nanosleep, clock, flags, request, left) == 0 ? 0 : errno;
}

int timerfd_settime(int timer, int flags, const struct itimerspec *when, struct itimerspec *was)
{
    return syscall(SYS_timerfd_settime, timer, flags, when, was);
}
