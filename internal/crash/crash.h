// quant_crash_arm names the program to start after a crash, and its arguments;
// the fourth and the fifth are filled in then.
void quant_crash_arm(char *path, char **argv);
void quant_crash_disarm(void);

// quant_crash_ended has a crash from now on end with this status, in silence.
void quant_crash_ended(int status);

// quant_crash_armed tells whether a crash ends in one line.
extern volatile int quant_crash_armed;

// quant_crash_line is what the Go runtime said of its fatal error; SIGABRT ends
// the process with it.
extern char quant_crash_line[512];
