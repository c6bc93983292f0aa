// SPDX-License-Identifier: GPL-3.0-or-later
#include "thread_pool.h"

#include <unistd.h>

#include <algorithm>
#include <system_error>

namespace amc {

ThreadPool::~ThreadPool() {
    if (!state_) return;
    if (process_ != getpid()) {
        state_.release();  // the threads are another process's, which is where they end
        return;
    }
    {
        const std::lock_guard<std::mutex> lock(state_->mutex);
        state_->over = true;
    }
    state_->changed.notify_all();
    for (auto& thread : state_->threads) thread.join();
}

// A process that was forked has none of its parent's threads.
ThreadPool::State& ThreadPool::Current() {
    const std::lock_guard<std::mutex> lock(making_);
    if (process_ != getpid()) {
        state_.release();
        state_ = std::make_unique<State>();
        process_ = getpid();
    }
    return *state_;
}

std::shared_ptr<ThreadPool::Task> ThreadPool::Start(size_t shares, std::function<void()> work) {
    auto task = std::make_shared<Task>(shares, std::move(work));
    if (shares == 0) return task;
    State& state = Current();
    {
        const std::lock_guard<std::mutex> lock(state.mutex);
        state.waiting.push_back(task);
        try {
            while (state.threads.size() < shares) state.threads.emplace_back([&state] { Serve(state); });
        } catch (const std::system_error&) {
            // The system gives no more threads: Finish does what these leave.
        }
    }
    for (size_t n = 0; n < shares; ++n) state.changed.notify_one();
    return task;
}

void ThreadPool::Serve(State& state) {
    std::unique_lock<std::mutex> lock(state.mutex);
    while (true) {
        state.changed.wait(lock, [&state] { return state.over || !state.waiting.empty(); });
        if (state.waiting.empty()) return;
        const auto task = state.waiting.front();
        DoShare(state, *task, lock);
    }
}

void ThreadPool::DoShare(State& state, Task& task, std::unique_lock<std::mutex>& lock) {
    if (--task.left_ == 0) {
        auto& waiting = state.waiting;
        waiting.erase(std::find_if(waiting.begin(), waiting.end(), [&task](const auto& one) { return one.get() == &task; }));
    }
    lock.unlock();
    std::exception_ptr error;
    try {
        task.work_();
    } catch (...) {
        error = std::current_exception();
    }
    lock.lock();
    if (error && !task.error_) task.error_ = error;
    if (--task.unfinished_ == 0) task.done_.notify_all();
}

void ThreadPool::Finish(Task& task) {
    State& state = Current();
    std::unique_lock<std::mutex> lock(state.mutex);
    while (task.left_ > 0) DoShare(state, task, lock);
    task.done_.wait(lock, [&task] { return task.unfinished_ == 0; });
    if (task.error_) std::rethrow_exception(task.error_);
}

}  // namespace amc
