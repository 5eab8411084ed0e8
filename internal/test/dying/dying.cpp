#include "dying.h"
#include <atomic>
#include <cstdlib>
#include <pthread.h>
#include <stdexcept>

extern "C" {

void dying_abort(void) { std::abort(); }

void dying_fault(void) { *static_cast<volatile int *>(nullptr) = 1; }

static void *fault(void *) {
	dying_fault();
	return nullptr;
}

void dying_in_a_thread(void) {
	pthread_t thread;
	pthread_create(&thread, nullptr, fault, nullptr);
	pthread_join(thread, nullptr);
}

static std::atomic<int> waiting(32);

static void *fault_with_others(void *) {
	waiting--;
	while (waiting > 0) {
	}
	dying_fault();
	return nullptr;
}

void dying_in_many_threads(void) {
	pthread_t threads[32];
	for (pthread_t &thread : threads) pthread_create(&thread, nullptr, fault_with_others, nullptr);
	pthread_join(threads[0], nullptr);
}

static void *throwing(void *) { throw std::runtime_error("the engine is out of its depth"); }

void dying_by_exception(void) {
	pthread_t thread;
	pthread_create(&thread, nullptr, throwing, nullptr);
	pthread_join(thread, nullptr);
}

}
