// SPDX-License-Identifier: GPL-3.0-or-later
//
// Threads that stay from call to call, and awake for a moment: to make one, or to wake it, takes as long as some frames do.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace amc {

class ThreadPool {
   public:
    // Work in shares, all alike: each one calls the same function once.
    class Task;

    ThreadPool() = default;
    // Waits for its threads; every task must be finished before.
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    // Has up to "threads" threads call "work" at the same time, in all "shares" times, which are no fewer. Of more shares the
    // caller takes one, in Finish: it does nothing else then, so that threads stay awake for what it may start next.
    std::shared_ptr<Task> Start(size_t shares, size_t threads, std::function<void()> work);

    // Does what no thread has begun of the task, and waits for the rest; throws what the work threw first.
    void Finish(Task& task);

   private:
    struct State {
        std::mutex mutex;
        std::condition_variable changed;
        std::deque<std::shared_ptr<Task>> waiting;
        std::atomic<size_t> tasks{0};  // as many as wait
        std::vector<std::thread> threads;
        bool over = false;
    };

    static void Serve(State& state);
    static void DoShare(State& state, Task& task, std::unique_lock<std::mutex>& lock);
    State& Current();

    std::unique_ptr<State> state_;
    pid_t process_ = 0;
    std::mutex making_;
};

class ThreadPool::Task {
   public:
    Task(size_t shares, bool is_waited_for, std::function<void()> work)
        : work_(std::move(work)), is_waited_for_(is_waited_for), left_(shares), unfinished_(shares) {}

   private:
    friend class ThreadPool;
    std::function<void()> work_;
    const bool is_waited_for_;
    size_t left_;  // shares that nobody has begun
    std::atomic<size_t> unfinished_;
    std::exception_ptr error_;
    std::condition_variable done_;
};

}  // namespace amc
