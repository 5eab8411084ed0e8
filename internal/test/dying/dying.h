#ifdef __cplusplus
extern "C" {
#endif
void dying_abort(void);
void dying_fault(void);
void dying_in_a_thread(void);
void dying_by_exception(void);
void dying_in_many_threads(void);
#ifdef __cplusplus
}
#endif
