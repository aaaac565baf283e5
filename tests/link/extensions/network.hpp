// A network that C++ trains: a tanh layer and a readout, full BPTT, Adam. Include
// bptt.h before this, or bptt_capsule.h in a module that links nothing.
#pragma once
#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <vector>

class Network {
  public:
    std::vector<float> params;

    Network(std::int64_t inputs, std::int64_t units, std::int64_t outputs) {
        spec_.struct_size = sizeof spec_;
        spec_.input_size = inputs;
        spec_.hidden_size = units;
        spec_.output_size = outputs;
        spec_.cell = BPTT_CELL_TANH;
        spec_.bias = 1;
        const std::size_t n = sizes(1, 1).params;
        for (auto *buffer : {&params, &grads_, &mean_, &square_}) buffer->resize(n);
    }

    std::int64_t inputs() const { return spec_.input_size; }
    std::int64_t outputs() const { return spec_.output_size; }

    // The loss before the last of some updates; x (T,B,I), target (T,B,O).
    double train(std::int64_t T, std::int64_t B, const float *x, const float *target,
                 std::int64_t updates, double lr) {
        const bptt_sizes n = sizes(T, B);
        std::vector<float> y(n.output), dy(n.output), tape(n.tape);
        std::vector<float> work(std::max(n.forward_work, n.backward_work));
        double loss = 0, norm = 0;
        for (std::int64_t i = 0; i < updates; i++) {
            check(bptt_forward_f32(&spec_, T, B, params.data(), x, nullptr, y.data(),
                                   nullptr, tape.data(), work.data(), nullptr));
            check(bptt_mse_f32(T * B, outputs(), y.data(), target, nullptr,
                               BPTT_REDUCTION_MEAN, dy.data(), &loss));
            std::fill(grads_.begin(), grads_.end(), 0.0f); // backward adds
            check(bptt_backward_f32(&spec_, T, B, params.data(), x, tape.data(),
                                    dy.data(), nullptr, nullptr, nullptr, grads_.data(),
                                    work.data(), nullptr));
            check(bptt_clip_norm_f32(n.params, grads_.data(), 1.0, &norm));
            check(bptt_adam_f32(n.params, params.data(), grads_.data(), mean_.data(),
                                square_.data(), ++step_, lr, 0.9, 0.999, 1e-8, 0, 0));
        }
        return loss;
    }

  private:
    bptt_spec spec_{};
    std::vector<float> grads_, mean_, square_;
    std::int64_t step_ = 0;

    static void check(bptt_status status) {
        if (status != BPTT_OK) throw std::invalid_argument(bptt_status_string(status));
    }

    bptt_sizes sizes(std::int64_t T, std::int64_t B) const {
        bptt_sizes n{};
        n.struct_size = sizeof n;
        check(bptt_sizes_f32(&spec_, T, B, nullptr, &n));
        return n;
    }
};
