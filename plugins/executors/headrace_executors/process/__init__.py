"""The executor `process`: batches run on worker processes.

    caller's threads                 the listener's thread                 worker process, one thread
    ----------------                 ---------------------                 --------------------------
    lane.submit --> pool.queue --.
                                 +--> pick a worker, pack -- socket --> unpack, run the kernel, pack
    future's callback <-- unpack <-- selector <------------- socket ----- results, in parts if it takes long
                                     a worker's end (pidfd, end of file)    progress --> cell (shared page)
                                                              lifeline ---> SIGKILL, when the parent is no more

executor, lane      what a runner sees
pool, listener, deadlines, child, job, lending   the parent's side: who is at what, what comes, who is late, one worker
                    process, one batch, its memory
worker              the worker's side, standard library alone, like what both sides share:
wire, packing, results, memory, cell, mail, lifeline   messages, pickles, memory for large buffers, the progress cell
"""
