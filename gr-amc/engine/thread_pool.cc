// SPDX-License-Identifier: GPL-3.0-or-later
#include "thread_pool.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <system_error>

namespace amc {
namespace {

// To wake a thread that sleeps takes as long as this, or longer.
constexpr auto kAwake = std::chrono::microseconds(50);

// Waits awake, so long at most, for "arrived"; leaves the processor to any other thread that could run.
template <class Arrived>
void StayAwake(std::unique_lock<std::mutex>& lock, const Arrived& arrived) {
    if (arrived()) return;
    lock.unlock();
    const auto end = std::chrono::steady_clock::now() + kAwake;
    while (!arrived() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    lock.lock();
}

}  // namespace

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

std::shared_ptr<ThreadPool::Task> ThreadPool::Start(size_t shares, size_t threads, std::function<void()> work) {
    auto task = std::make_shared<Task>(shares, shares > threads, std::move(work));
    if (shares == 0) return task;
    State& state = Current();
    {
        const std::lock_guard<std::mutex> lock(state.mutex);
        state.waiting.push_back(task);
        ++state.tasks;
        try {
            while (state.threads.size() < threads) state.threads.emplace_back([&state] { Serve(state); });
        } catch (const std::system_error&) {
            // The system gives no more threads: Finish does what these leave.
        }
    }
    for (size_t n = 0; n < threads; ++n) state.changed.notify_one();
    return task;
}

void ThreadPool::Serve(State& state) {
    std::unique_lock<std::mutex> lock(state.mutex);
    bool next_is_near = false;
    while (true) {
        if (next_is_near) StayAwake(lock, [&state] { return state.tasks != 0; });
        state.changed.wait(lock, [&state] { return state.over || !state.waiting.empty(); });
        if (state.waiting.empty()) return;
        const auto task = state.waiting.front();
        next_is_near = task->is_waited_for_;
        DoShare(state, *task, lock);
    }
}

void ThreadPool::DoShare(State& state, Task& task, std::unique_lock<std::mutex>& lock) {
    if (--task.left_ == 0) {
        auto& waiting = state.waiting;
        --state.tasks;
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
    if (task.is_waited_for_) StayAwake(lock, [&task] { return task.unfinished_ == 0; });
    task.done_.wait(lock, [&task] { return task.unfinished_ == 0; });
    if (task.error_) std::rethrow_exception(task.error_);
}

}  // namespace amc
