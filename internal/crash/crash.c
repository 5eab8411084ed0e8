#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include "crash.h"

// All that is called from last_act on may be called in a signal handler.

extern char **environ;

static char *volatile path;
static char **volatile argv;
volatile int quant_crash_armed;
char quant_crash_line[512];

// The thread that ends the process, 0: none does.
static uintptr_t ending;
static volatile int ended = -1;

// What libraries wrote on stderr in their last words; line is of the thread that
// ends the process.
static char words[1024];
static char line[512];
static char descriptor[12];

static void add(char *to, size_t room, const char *text) {
	size_t have = strlen(to);
	while (*text && have + 1 < room) {
		char c = *text++;
		to[have++] = (unsigned char)c < ' ' || c == 127 ? ' ' : c;
	}
	to[have] = 0;
}

static void say(const char *text) {
	size_t left = strlen(text);
	while (left > 0) {
		ssize_t n = write(2, text, left);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) return;
		text += n;
		left -= n;
	}
}

// add_words adds what a library said. Of an exception that is its message alone,
// which DuckDB wraps in JSON.
static void add_words(void) {
	const char *message = strstr(words, "\"exception_message\":\"");
	if (message)
		message += strlen("\"exception_message\":\"");
	else if ((message = strstr(words, "what():  ")))
		message += strlen("what():  ");
	else
		message = words;
	if (!message[0]) return;
	add(line, sizeof line, ": ");
	char one[2] = {0, 0};
	for (; *message && *message != '"'; message++) {
		if (*message == '\\' && message[1]) message++;
		one[0] = *message;
		add(line, sizeof line, one);
	}
}

// last_act says what happened and starts the program anew. It does not return.
// Of several threads the first does; the others wait until execve ends them.
static void last_act(const char *what) {
	if (ended >= 0) _exit(ended);
	uintptr_t me = (uintptr_t)pthread_self(), first = 0;
	if (!__atomic_compare_exchange_n(&ending, &first, me, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		if (first == me) _exit(1);
		for (;;) pause();
	}
	line[0] = 0;
	if (strstr(words, "pthread_create failed")) {
		add(line, sizeof line, "a thread could not be started");
		const char *why = strstr(words, "failed: ");
		if (why) {
			add(line, sizeof line, ": ");
			add(line, sizeof line, why + 8);
		}
	} else {
		add(line, sizeof line, "the program could not go on: ");
		add(line, sizeof line, what);
		add_words();
	}
	for (size_t n = strlen(line); n > 0 && line[n - 1] == ' '; n--) line[n - 1] = 0;
	say("quant: ");
	say(line);
	say("\n  hint: is there a limit on memory, processes or threads (ulimit -a)? --log-level debug prints the trace\n");
	if (!path || !path[0]) _exit(1);

	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	// An image that cannot get going either has nothing more to say.
	int kept = fcntl(2, F_DUPFD, 3), null = open("/dev/null", O_WRONLY);
	if (kept >= 0 && null >= 0) dup2(null, 2);
	char *digits = descriptor + sizeof descriptor - 1;
	int rest = kept < 0 ? 0 : kept;
	do {
		*--digits = '0' + rest % 10;
		rest /= 10;
	} while (rest);
	argv[3] = line;
	argv[4] = digits;
	// Locks on files that are open without O_CLOEXEC would outlive this image.
	for (int fd = 3; fd < 1024; fd++)
		if (fd != kept) fcntl(fd, F_SETFD, FD_CLOEXEC);
	// What this image died of, the next one would, too.
	struct rlimit memory;
	if (getrlimit(RLIMIT_AS, &memory) == 0) {
		memory.rlim_cur = memory.rlim_max;
		setrlimit(RLIMIT_AS, &memory);
	}
	execve(path, argv, environ);
	_exit(1);
}

static void by_default(int number) {
	struct sigaction standard;
	memset(&standard, 0, sizeof standard);
	standard.sa_handler = SIG_DFL;
	sigaction(number, &standard, NULL);
}

static void fatal_signal(int number, siginfo_t *info, void *context) {
	(void)info;
	(void)context;
	if (!quant_crash_armed) {
		by_default(number); // and again
		if (number == SIGABRT) raise(number);
		return;
	}
	switch (number) {
	case SIGABRT: last_act(quant_crash_line[0] ? quant_crash_line : "a library aborted");
	case SIGSEGV: last_act("a library touched memory that is not its own");
	case SIGBUS: last_act("a file or memory that was mapped is gone");
	case SIGILL: last_act("a library ran an instruction that this machine does not have");
	default: last_act("a library made an error of arithmetic");
	}
}

static void handle(int number) {
	struct sigaction action;
	memset(&action, 0, sizeof action);
	action.sa_sigaction = fatal_signal;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
	sigemptyset(&action.sa_mask);
	sigaction(number, &action, NULL);
}

// What the Go runtime reserves before it can say anything, and some.
#define RESERVED (720UL << 20)

// wants_room ends a process that is allowed less memory than the Go runtime
// reserves: that would die of it with a trace.
static void wants_room(void) {
	struct rlimit limit;
	if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
	void *room = mmap(NULL, RESERVED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room != MAP_FAILED) {
		munmap(room, RESERVED);
		return;
	}
	say("quant: too little memory to start: the limit on address space (ulimit -v) is too low\n  hint: raise it to 2 GiB, or limit the memory that is used (a cgroup) instead\n");
	_exit(1);
}

#ifdef __GLIBC__
// What C and C++ write on stderr: their last words are kept for the line, all
// else passes.
static ssize_t written(void *cookie, const char *text, size_t length) {
	(void)cookie;
	static const char *const last[] = {"terminate called", "  what():", "runtime/cgo:", "pthread_create failed", "terminate:", NULL};
	char start[1000];
	size_t n = length < sizeof start - 1 ? length : sizeof start - 1;
	memcpy(start, text, n);
	start[n] = 0;
	for (int i = 0; last[i]; i++)
		if (strncmp(start, last[i], strlen(last[i])) == 0 || words[0]) {
			add(words, sizeof words, start);
			return length;
		}
	ssize_t passed = write(2, text, length);
	return passed < 0 ? 0 : passed; // what tells stdio of an error here
}
#endif

// Before the Go runtime: it forwards faults in C code to the handlers that it
// finds.
__attribute__((constructor)) static void first_of_all(void) {
	wants_room();
	handle(SIGSEGV);
	handle(SIGBUS);
	handle(SIGILL);
	handle(SIGFPE);
#ifdef __GLIBC__
	cookie_io_functions_t functions = {.write = written};
	FILE *f = fopencookie(NULL, "w", functions);
	if (f) {
		setvbuf(f, NULL, _IONBF, 0);
		stderr = f;
	}
#endif
}

// abort is C's, but for what is said: the runtime of Go, before main and after,
// and C++ call it when they cannot go on.
void abort(void) {
	if (quant_crash_armed || strstr(words, "pthread_create failed")) last_act("a library aborted");
	if (words[0]) say(words);
	by_default(SIGABRT);
	sigset_t one;
	sigemptyset(&one);
	sigaddset(&one, SIGABRT);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	raise(SIGABRT);
	_exit(134);
}

void quant_crash_arm(char *program, char **arguments) {
	argv = arguments;
	path = program;
	if (!quant_crash_armed) {
		handle(SIGABRT); // in the place of the Go runtime's
		quant_crash_armed = 1;
	}
}

void quant_crash_disarm(void) { quant_crash_armed = 0; }

void quant_crash_ended(int status) { ended = status; }
