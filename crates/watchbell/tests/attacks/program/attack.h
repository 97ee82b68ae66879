/* What every part of the program has: how an attack is named, and how it says what it got. */
#ifndef ATTACK_H
#define ATTACK_H

/* One attempt. The number is that of the list in docs/attacks.md; several attempts may belong to one. */
struct attack {
    int number;
    const char *name;
    void (*run)(void);
};

extern const struct attack kernel_calls[], files[];

/* Run as root on the host, beside the task. */
extern int is_control;

/* Says how the attempt went: "reached" for what is not negative, else the name of errno. Returns `result`. */
long got(long result);
/* Says it in a word of the attempt's own. */
void said(const char *word);
/* Whether a failure is not the attempt's but the program's: says so, which no table expects. */
int prepared(long result, const char *what);

/* Attacks on what there is of everything, each a run of its own; they never come back to the others. */
int exhaust(const char *verb, int argc, char **argv);

#endif
