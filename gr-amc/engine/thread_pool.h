// SPDX-License-Identifier: GPL-3.0-or-later
//
// Threads that stay from call to call: to make one takes as long as some frames do.
#pragma once

#include <sys/types.h>

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

    // Has up to "shares" threads call "work", each once, at the same time.
    std::shared_ptr<Task> Start(size_t shares, std::function<void()> work);

    // Does what no thread has begun of the task, and waits for the rest; throws what the work threw first.
    void Finish(Task& task);

   private:
    struct State {
        std::mutex mutex;
        std::condition_variable changed;
        std::deque<std::shared_ptr<Task>> waiting;
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
    Task(size_t shares, std::function<void()> work) : work_(std::move(work)), left_(shares), unfinished_(shares) {}

   private:
    friend class ThreadPool;
    std::function<void()> work_;
    size_t left_;  // shares that nobody has begun
    size_t unfinished_;
    std::exception_ptr error_;
    std::condition_variable done_;
};

}  // namespace amc
