"""The executor `process`: batches run on worker processes.

    caller's threads                 the pool's thread                     worker process, one thread
    ----------------                 -----------------                     --------------------------
    lane.submit --> pool.queue --.
                                 +--> pick a worker, pack -- socket --> unpack, run the kernel, pack
    future's callback <-- unpack <-- selector <------------- socket ----- results, in parts if it takes long
                                     a worker's end (pidfd, end of file)    progress --> cell (shared page)
                                                              lifeline ---> SIGKILL, when the parent is no more

executor, lane      what a runner sees
pool, child         the parent's side: who is at what, and one worker process
worker, control     the worker's side, standard library alone
wire, packing, memory, cell   what both sides share: messages, pickles, memory for large buffers, the progress cell
"""
