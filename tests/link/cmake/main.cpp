// A C++ program that finds libbptt.a through CMake. What tests/link/train.h does in C and float stands here in double,
// in the way of C++: vectors own the buffers, a status becomes an exception.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <vector>

#include <bptt.h>

constexpr std::int64_t T = 20, B = 4, I = 2, H = 16, updates = 40;

static void check(bptt_status status) {
    if (status != BPTT_OK) throw std::runtime_error(bptt_status_string(status));
}

static double number(std::int64_t i) { return static_cast<double>(i * 37 % 101 - 50) / 128; }

static double train() {
    bptt_spec spec{};
    spec.struct_size = sizeof spec;
    spec.input_size = spec.output_size = I;
    spec.hidden_size = H;
    spec.cell = BPTT_CELL_TANH;
    spec.bias = 1;
    bptt_sizes sizes{};
    sizes.struct_size = sizeof sizes;
    check(bptt_sizes_f64(&spec, T, B, nullptr, &sizes));

    std::vector<double> x(T * B * I), target(x.size()), y(sizes.output), dy(sizes.output), tape(sizes.tape);
    std::vector<double> params(sizes.params), grads(sizes.params), mean(sizes.params), square(sizes.params);
    std::vector<double> work(std::max(sizes.forward_work, sizes.backward_work));
    for (std::size_t i = 0; i < x.size(); i++) x[i] = number(i * i);
    std::copy(x.begin(), x.end() - B * I, target.begin() + B * I);
    for (std::size_t i = 0; i < params.size(); i++) params[i] = number(i);

    double loss = 0, norm = 0;
    for (std::int64_t step = 1; step <= updates; step++) {
        check(bptt_forward_f64(&spec, T, B, params.data(), x.data(), nullptr, y.data(), nullptr, tape.data(),
                               work.data(), nullptr));
        check(bptt_mse_f64(T * B, I, y.data(), target.data(), nullptr, BPTT_REDUCTION_MEAN, dy.data(), &loss));
        std::fill(grads.begin(), grads.end(), 0.0);
        check(bptt_backward_f64(&spec, T, B, params.data(), x.data(), tape.data(), dy.data(), nullptr, nullptr, nullptr,
                                grads.data(), work.data(), nullptr));
        check(bptt_clip_norm_f64(sizes.params, grads.data(), 1.0, &norm));
        check(bptt_adam_f64(sizes.params, params.data(), grads.data(), mean.data(), square.data(), step, 1e-2, 0.9,
                            0.999, 1e-8, 0.0, 0));
    }
    return loss;
}

int main() try {
    std::printf("loss %.17g\n", train());
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "bptt %s: %s\n", bptt_version(), error.what());
    return 1;
}
